/**
 * The commands about circuits, for the stand-in server: every field that the interface names, numbers that mean nothing but
 * are the same for the same request. Each is a function (body, step) -> answer that calls `step` as it goes; `step` tells the
 * client and throws once it has left.
 */
import { CONFIG, hash, idOf, tokenize } from './mock-model.mjs';

const unit = (...parts) => (hash(...parts) % 100003) / 100003;
const L = CONFIG.n_layers,
  H = CONFIG.n_heads;
const range = (n) => Array.from({ length: n }, (_, i) => i);
const each = (fn) => range(L).flatMap((layer) => range(H).map((head) => fn(layer, head)));
const token = (text) => ({ id: idOf(text), text });
const WORDS = [
  ' Mary',
  ' John',
  ' the',
  ' of',
  ' one',
  ' two',
  ' city',
  ' Lisbon',
  ' store',
  ' gave',
  '.',
  '\n',
  ' Paris',
  ' drink',
];
const word = (...parts) => WORDS[hash(...parts) % WORDS.length];

const DETECTORS = [
  'previous',
  'current',
  'duplicate',
  'induction',
  'sink',
  'copying',
  'name_mover',
  'negative_mover',
  'successor',
  'copy_suppression',
  's_inhibition',
];

async function heads(_body, step) {
  for (const i of range(10)) await step('detectors', i + 1, 10);
  return {
    heads: each((layer, head) => ({
      layer,
      head,
      scores: Object.fromEntries(
        DETECTORS.map((d) => [d, d === 'copying' ? 2 * unit(d, layer, head) - 1 : unit(d, layer, head) ** 6]),
      ),
    })),
    icl: -4.1,
    prefix_matching: 0.61,
    controls: {},
  };
}

const VERBS = {
  pairs: (b) => {
    const [layer, head] = b.heads.split('.').map(Number);
    const rows = range(b.top ?? 20).map((i) => {
      const other = token(word(layer, head, i, b.circuit, 'b'));
      return {
        layer,
        head,
        score: 9 / (1 + i / 5) + unit(layer, head, i) / 10,
        circuit: b.circuit ?? 'ov',
        source: token(word(layer, head, i, 'a')),
        via: b.circuit === 'qk' ? other : null,
        target: b.circuit === 'qk' ? null : other,
      };
    });
    return { rows };
  },
  copying: (b) => {
    const [layer, head] = b.heads.split('.').map(Number);
    const eigenvalues = range(CONFIG.d_head).map((i) => [
      (unit(layer, head, i) - 0.3) * 20 * unit(i, 's'),
      (unit(layer, head, i, 'im') - 0.5) * 8 * unit(i, 't'),
    ]);
    const score = eigenvalues.reduce((s, e) => s + e[0], 0) / eigenvalues.reduce((s, e) => s + Math.hypot(...e), 0);
    return { null: { draws: 100, mean: 0.002, sd: 0.09 }, rows: [{ layer, head, score, magnitude: 9, trace: 3, eigenvalues }] };
  },
  composition: (b) => {
    const [layer, head] = b.heads.split('.').map(Number);
    const me = { layer, head };
    const rows = each((l, h) => ({ layer: l, head: h }))
      .filter((o) => o.layer !== layer)
      .flatMap((o) =>
        ['q', 'k', 'v'].map((kind) => ({
          from: o.layer < layer ? o : me,
          to: o.layer < layer ? me : o,
          kind,
          score: 0.04 + 0.13 * unit(o.layer, o.head, kind, layer, head) ** 8,
          baseline: 0.042,
          baseline_sd: 0.0006,
        })),
      );
    return { rows };
  },
};

async function weights(body, step) {
  await step(body.verb, 1, 2);
  return { verb: body.verb, ...VERBS[body.verb](body) };
}

const TASKS = ['ioi', 'greater-than', 'induction', 'capital-of', 'gendered-pronoun', 'docstring', 'successor', 'colour-objects'];
const NAMES = ['Mary', 'John', 'Tom', 'James', 'Dan', 'Sid', 'Amy', 'Martin'];

async function tasks(body) {
  if (!body.show)
    return {
      tasks: TASKS.map((name) => ({
        name,
        n: 8,
        metric: 'logit-diff',
        clean: 4 + unit(name),
        corrupted: -4,
        accuracy: unit(name, 'a'),
        ok: true,
      })),
    };
  return {
    prompts: range(body.n ?? 8).map((i) => {
      const [a, b] = [NAMES[i % 8], NAMES[(i + 3) % 8]];
      const text = (s) => `When ${a} and ${b} went to the shops, ${s} gave the bag to`;
      return { clean: text(b), corrupted: text(a), answer: ` ${a}`, wrong: ` ${b}`, positions: { S2: 9, END: 13 } };
    }),
  };
}

async function patch(body, step, refuse) {
  if (body.task) Object.assign(body, (await tasks({ show: body.task, n: 1 })).prompts[0], { site: body.site });
  const clean = tokenize(body.clean ?? ''),
    corrupted = tokenize(body.corrupted ?? '');
  if (clean.length !== corrupted.length)
    refuse(
      400,
      `the clean prompt has ${clean.length} tokens, the corrupted one ${corrupted.length}: they must be equally many`,
      'corrupted',
    );
  const T = clean.length;
  const first = clean.findIndex((t, i) => t.text !== corrupted[i].text);
  const axes = (body.by ?? 'layer,pos').split(',');
  const size = { layer: L, head: H, pos: T };
  const noise = body.direction === 'noise' || body.ablate !== undefined;
  const cell = (at) => {
    const depth = at.layer / L;
    let v;
    if (at.pos !== undefined && at.head === undefined)
      v =
        at.pos < first
          ? 0
          : at.pos === T - 1
            ? 1 / (1 + Math.exp(-20 * (depth - 0.6)))
            : at.pos === first
              ? 1 / (1 + Math.exp(20 * (depth - 0.5)))
              : 0;
    else v = (unit(body.site, at.layer, at.head, at.pos ?? '') - 0.4) ** 5 * 6;
    return noise ? 1 - v : v;
  };
  const nest = (rest, at) =>
    rest.length ? range(size[rest[0]]).map((i) => nest(rest.slice(1), { ...at, [rest[0]]: i })) : cell(at);
  for (const i of range(L)) await step('patching', i + 1, L);
  const values = nest(axes, {});
  const raw = JSON.parse(JSON.stringify(values), (_, v) => (typeof v === 'number' ? -4 + 8 * v : v));
  return {
    metric: body.metric ?? 'logit-diff',
    prompts: body.n ?? 1,
    clean: 4,
    corrupted: -4,
    baseline: noise ? 1 : 0,
    axes,
    ticks: Object.fromEntries(axes.map((a) => [a, range(size[a])])),
    values,
    low: values,
    high: values,
    raw,
    macs: { plain: 5e12, planned: 1e11, executed: 1e11 },
    seconds: 0.3,
    positions: range(T).map((p) => ({ position: p, clean: [clean[p].text], corrupted: [corrupted[p].text] })),
    warnings: ['one prompt: no interval; give several pairs to see how far it holds'],
  };
}

async function circuit(body, step) {
  for (const i of range(40)) await step('scoring edges', i + 1, 40);
  const spine = each((layer, head) => ({ layer, head, w: unit('c', layer, head) })).filter((n) => n.w > 0.86);
  const name = (n) => `a${n.layer}.h${n.head}`;
  const edges = [];
  const add = (from, to, scale) => edges.push({ from, to, score: (0.25 - unit(from, to)) * scale, exact: null });
  for (const n of spine) {
    if (n.layer < 12) add('input', `${name(n)}<q>`, 1);
    for (const m of spine)
      if (m.layer > n.layer && unit(name(n), name(m)) > 0.8)
        add(name(n), m.head % 2 ? `${name(m)}<q>` : `a${m.layer}.h${Math.floor(m.head / 3)}<v>`, 0.6);
    if (n.layer > 14) add(name(n), 'logits', 1.6);
  }
  for (const l of range(L)) if (unit('m', l) > 0.7) (add('input', `m${l}`, 0.8), add(`m${l}`, 'logits', 1));
  edges.sort((a, b) => Math.abs(b.score) - Math.abs(a.score));
  const ks = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];
  return {
    schema: 'microtome.circuit.v1',
    model_sha256: '0'.repeat(64),
    task: body.task ?? 'pairs',
    metric: 'logit-diff',
    ablation: 'resample',
    roles: null,
    n_edges: 70651,
    ig_gap: 0.01,
    nodes: [...new Set(edges.flatMap((e) => [e.from, e.to.replace(/<.>/, '')]))],
    edges: edges.slice(0, body.edges ?? 200),
    missed: 0.04,
    faithfulness: ks.map((k, i) => ({
      k,
      f: 1 - Math.exp(-i * 0.7),
      edges: Math.round(k * 70651 * 0.8),
      random: 0.02 * i,
      low: 0.9 - Math.exp(-i * 0.7),
      high: 1.05 - Math.exp(-i * 0.7),
    })),
    completeness: 0.1,
    minimality: 0.02,
    kl: 0.3,
    cpr: 0.95,
    cmd: 0.06,
  };
}

async function paths(body) {
  const components = [
    { name: 'embed', layer: null, head: null, logit: 0.1 },
    ...range(L).flatMap((layer) => [
      ...range(H).map((head) => ({ name: `a${layer}.h${head}`, layer, head, logit: (unit('p', layer, head) - 0.45) ** 5 * 40 })),
      { name: `m${layer}`, layer, head: null, logit: (unit('p', layer) - 0.4) ** 3 * 4 },
    ]),
  ];
  const total = components.reduce((s, c) => s + c.logit, 0);
  return {
    tokens: tokenize(body.prompt ?? ''),
    position: 0,
    target: token(body.target ?? ' Mary'),
    versus: null,
    terms: [],
    components,
    neurons: range(20).map((i) => ({ name: `m${i}.n${i * 7}`, layer: i, head: null, neuron: i * 7, logit: 0.3 - i / 50 })),
    orders: [],
    total,
    logit: total,
  };
}

async function neurons(body, step) {
  const n = body.facts.length;
  for (const i of range(n)) await step('finding neurons (prompts)', i + 1, n);
  const facts = body.facts.map((f) => ({
    id: f.id,
    relation: f.relation,
    subject: f.subject,
    prompt: f.prompts[0],
    answer: f.answer,
    new_answer: null,
    prompts: f.prompts.length,
    right: f.prompts.length,
    probability: 0.4,
    neurons: range(2 + (hash(f.id) % 4)).map((i) => ({
      layer: 12 + (hash(f.id, i) % 18),
      index: hash(f.id, i, 'n') % CONFIG.d_mlp,
      score: 0.3 - i * 0.04,
      activation: 2,
      prompts: 3,
    })),
    hubs: [],
    effect: {
      target: -0.6,
      paraphrases: -0.45,
      controls: -0.03,
      random: -0.01,
      random_sd: 0.01,
      most_active: -0.1,
      locality: 0.98,
      perplexity: 20.4,
    },
  }));
  return {
    facts,
    hubs: [{ layer: 27, index: 300, facts: 4, unrelated: 0.5, same_relation: false }],
    perplexity: { before: 20.1, after: 20.4 },
    locality: 0.98,
    operations: [],
    warnings: [],
  };
}

export const circuitCommands = { heads, weights, tasks, patch, circuit, paths, neurons };
