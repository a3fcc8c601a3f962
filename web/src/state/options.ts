/**
 * What the views about circuits let a person choose, as text, so that the address can hold it. The key is the name in the
 * address; what equals the default is left out. Pure.
 */
export const OPTIONS = {
  // Heads
  heads: 'patterns', // patterns | map | grid
  x: 'previous',
  y: 'induction',
  by: 'induction',
  probe: 'random', // random | text: what the scores are of
  detectors: '', // '' | all
  study: 'pattern', // pattern | pairs | spectrum | composition | ablate
  circuit: 'ov', // of the pairs: ov | qk
  // Patch, and what the circuits share with it
  clean: 'When Mary and John went to the store, John gave a drink to',
  corrupted: 'When Mary and John went to the store, Mary gave a drink to',
  answer: ' Mary',
  wrong: ' John',
  several: '', // a task, all of whose prompts are patched
  site: 'resid_pre',
  axes: 'layer,pos',
  direction: 'denoise',
  method: 'exact', // exact | atp | atp-star
  replace: 'other', // other | zero | mean: what is put in place
  metric: 'logit-diff',
  cell: '', // one index an axis: 12.3
  // Circuits
  part: 'graph', // graph | paths | neurons
  task: 'ioi',
  find: 'eap-ig',
  edges: '200',
  positions: '',
  shown: '60',
  node: '',
  // Knowledge neurons: phrasings with {} for the subject, facts as subject = answer, one a line
  phrasings:
    'The capital of {} is the city of\nThe capital city of {} is\n{}, whose capital is\nThe seat of government of {} is in the city of',
  heldout: '{} is a country, and its capital is called',
  pairs: 'Portugal = Lisbon\nFrance = Paris\nItaly = Rome\nJapan = Tokyo',
  change: 'suppress', // suppress | amplify | erase
  fact: '',
  // Look
  lens: 'logit', // logit | tuned | jacobian
  swap: '', // A ⇥ B
  swaplayer: '16',
} as const;
export type OptionName = keyof typeof OPTIONS;
export type Options = Record<OptionName, string>;
export const OPTION_NAMES = Object.keys(OPTIONS) as OptionName[];
