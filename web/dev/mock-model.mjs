/**
 * A stand-in for the default model: its shape, its way of answering, no weights. Everything is a function of the text and
 * the edits, so that tests can rely on it. Its numbers mean nothing.
 */
export const CONFIG = {
  family: 'llama',
  n_layers: 30,
  d_model: 576,
  n_heads: 9,
  n_kv_heads: 3,
  d_head: 64,
  d_mlp: 1536,
  vocab: 49152,
  context: 2048,
};

const COMMON = [
  ' the',
  ' a',
  ' of',
  ',',
  '.',
  ' and',
  ' in',
  ' to',
  ' is',
  ' was',
  '\n',
  ' old',
  ' port',
  ' city',
  ' Rio',
  ' river',
];
const texts = new Map();

export function hash(...parts) {
  let h = 2166136261;
  for (const c of parts.join('\u0001')) h = Math.imul(h ^ c.codePointAt(0), 16777619);
  return (h ^ (h >>> 15)) >>> 0;
}
const unit = (...parts) => (hash(...parts) % 100003) / 100003;

export function idOf(text) {
  let id = hash(text) % CONFIG.vocab;
  while (texts.has(id) && texts.get(id) !== text) id = (id + 1) % CONFIG.vocab;
  texts.set(id, text);
  return id;
}

export function tokenize(prompt) {
  const found = prompt.match(/ ?\p{L}+| ?\d| ?[^\s\p{L}\d]+|\s/gu) ?? [];
  // Characters outside the basic plane come as bytes, as they do in a byte-level tokenizer.
  const tokens = found.flatMap((t) =>
    /[\u{10000}-\u{10ffff}]/u.test(t) ? [...Buffer.from(t)].map((b) => `<0x${b.toString(16).toUpperCase()}>`) : [t],
  );
  return tokens.map((text) => ({ id: idOf(text), text }));
}

export function tokensOf(body) {
  if (Array.isArray(body.tokens)) return body.tokens.map((id) => ({ id, text: texts.get(id) ?? `<${id}>` }));
  const text = body.chat ? `<|im_start|>user\n${body.prompt}<|im_end|>\n<|im_start|>assistant\n` : body.prompt;
  return tokenize(text);
}

export function points(all) {
  const out = [];
  for (let layer = 0; layer < CONFIG.n_layers; layer++) {
    out.push(`blocks.${layer}.hook_resid_pre`);
    if (all) out.push(`blocks.${layer}.hook_resid_mid`);
  }
  return [...out, `blocks.${CONFIG.n_layers - 1}.hook_resid_post`];
}

/** What the stand-in would say after these tokens: the word that followed last time, a known capital, or a common word. */
function answers(tokens, upTo, edits) {
  const seen = tokens.slice(0, upTo + 1).map((t) => t.text);
  const here = seen[upTo];
  const list = [];
  const before = seen.slice(0, -1).lastIndexOf(here);
  if (before >= 0) list.push(seen[before + 1]);
  const whole = seen.join('');
  if (/city of$/.test(whole)) {
    const moved = edits.some(
      (e) =>
        e.op === 'from' && /France/.test(e.value) && e.pos === seen.indexOf(' Portugal') && Number(e.site.split('.')[1]) < 23,
    );
    list.unshift(...(/Portugal/.test(whole) && !moved ? [' Lisbon', ' Port', ' Paris'] : [' Paris', ' Lyon', ' Lisbon']));
  }
  for (let i = 0; list.length < 24; i++) {
    const word = COMMON[hash(here, i, 'next') % COMMON.length];
    list.push(list.includes(word) ? `${word}${i}` : word);
  }
  return list;
}

const settled = (depth) => 1 / (1 + Math.exp(-14 * (depth - 0.82)));

/** One cell: the mixture of an early and a final guess, by depth in [0, 1]. */
export function cell(tokens, position, depth, { top, target, edits }) {
  const s = settled(depth) / settled(1);
  const final = answers(tokens, position, edits);
  const weight = new Map();
  const disturbance = edits.length ? edits.reduce((n, e) => n + 0.2 * unit(JSON.stringify(e), position), 0) : 0;
  final.forEach((text, i) => weight.set(text, s * Math.exp(-1.3 * i - (i === 0 ? disturbance : 0))));
  for (let i = 0; i < 6; i++) {
    const text = COMMON[hash(tokens[position].text, Math.floor(depth * 9), i) % COMMON.length];
    weight.set(text, (weight.get(text) ?? 0) + (1 - s) * 0.1 * Math.exp(-0.4 * i));
  }
  const rest = 0.35 * (1 - s) + 0.08;
  const total = [...weight.values()].reduce((a, b) => a + b, 0) + rest;
  const sorted = [...weight]
    .filter((w) => w[1] > 1e-300)
    .sort((a, b) => b[1] - a[1])
    .map(([text, w]) => ({ id: idOf(text), text, logprob: Math.log(w / total) }));
  const entropy = sorted.reduce((h, c) => h - (c.logprob > -700 ? Math.exp(c.logprob) * c.logprob : 0), (rest / total) * 9);
  const out = { top: sorted.slice(0, top), entropy, kl_to_final: 11 * (1 - s) ** 2 };
  const wanted = target === 'final' ? final[0] : target === 'next' ? tokens[position + 1]?.text : target;
  if (target) {
    const rank = sorted.findIndex((c) => c.text === wanted);
    const far = Math.round(3 + (CONFIG.vocab - 4) * (1 - s) * unit(wanted ?? '', position));
    out.target =
      wanted === undefined
        ? null
        : rank >= 0
          ? { id: idOf(wanted), logprob: sorted[rank].logprob, rank: rank + 1 }
          : { id: idOf(wanted), logprob: -9 - 12 * (1 - s), rank: Math.max(sorted.length + 1, far) };
  }
  return out;
}

export function pattern(tokens, layer, head, edits) {
  const T = tokens.length;
  const off = edits.some((e) => e.site === `blocks.${layer}.attn.hook_pattern`);
  const kind = hash(layer, head) % 5;
  return tokens
    .map((token, q) => {
      const row = tokens.map((key, k) => {
        if (k > q || off) return 0;
        const noise = 0.02 + 0.1 * unit(layer, head, token.text, key.text, k);
        if (kind === 0) return noise + (k === q - 1 ? 3 : 0) + (k === 0 && q < 2 ? 1 : 0);
        if (kind === 1) return noise * 0.3 + (k === 0 ? 3 : 0);
        if (kind === 2) return noise + (k > 0 && tokens[k - 1].text === token.text && k - 1 < q ? 3 : 0) + (k === 0 ? 0.6 : 0);
        if (kind === 3) return noise * 4 + (/^ [A-Z]/.test(key.text) ? 1.2 : 0);
        return noise + Math.exp(-(q - k) / 2);
      });
      const sum = row.reduce((a, b) => a + b, 0) || 1;
      return row.map((x) => x / sum);
    })
    .slice(0, T);
}
