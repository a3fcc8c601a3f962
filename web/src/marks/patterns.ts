/**
 * Attention patterns: bytes from the server to small pictures of all heads, one large one, and the numbers that describe
 * a head. A pattern is `[T, T]` (query, key); each row sums to 1 over the keys up to the query. Pure.
 */
import type { PatternsJson, Token } from '../api/types';
import { sequential, type Palette } from './colour';
import type { Mark, Scene } from './scene';

export interface Patterns {
  nLayers: number;
  nHeads: number;
  tokens: Token[];
  /** Which layer each block of `bytes` stands for. */
  layers: number[];
  /** `[layers, heads, T, T]`, value × 255. */
  bytes: Uint8Array;
}

export function decodePatterns(json: PatternsJson): Patterns {
  const binary = atob(json.patterns);
  const bytes = Uint8Array.from(binary, (c) => c.charCodeAt(0));
  const layers = json.layers ?? Array.from({ length: json.n_layers }, (_, i) => i);
  const T = json.tokens.length;
  const expected = layers.length * json.n_heads * T * T;
  if (bytes.length !== expected) {
    throw new Error(
      `the server's answer at patterns: ${bytes.length} bytes, expected ${layers.length} layers × ${json.n_heads} heads × ${T}² = ${expected}`,
    );
  }
  return { nLayers: json.n_layers, nHeads: json.n_heads, tokens: json.tokens, layers, bytes };
}

export function headBytes(p: Patterns, layer: number, head: number): Uint8Array | null {
  const at = p.layers.indexOf(layer);
  const size = p.tokens.length ** 2;
  return at < 0 || head < 0 || head >= p.nHeads
    ? null
    : p.bytes.subarray((at * p.nHeads + head) * size, (at * p.nHeads + head + 1) * size);
}

export function matrixOf(bytes: Uint8Array, T: number): number[][] {
  return Array.from({ length: T }, (_, q) => Array.from({ length: T }, (_, k) => bytes[q * T + k] / 255));
}

/** rgba of one small pattern, queries downwards; keys after the query are left in the line colour's transparency. */
export function thumbnail(bytes: Uint8Array, T: number, palette: Palette): Uint8ClampedArray {
  const rgba = new Uint8ClampedArray(T * T * 4);
  for (let q = 0; q < T; q++) {
    for (let k = 0; k <= q; k++) {
      const at = q * T + k;
      // The root lifts faint attention, so that a small picture shows its shape; the large one is linear.
      rgba.set([...sequential(palette, Math.sqrt(bytes[at] / 255)), 255], at * 4);
    }
  }
  return rgba;
}

export interface GridLayout {
  size: number;
  gap: number;
  blocks: number;
  perBlock: number;
  x0: number;
  y0: number;
  blockGap: number;
  width: number;
  height: number;
  nLayers: number;
  nHeads: number;
}

/**
 * Layers run downwards and heads across, in as many blocks side by side as give the largest small pictures within
 * `width` × `height`.
 */
export function gridLayout(nLayers: number, nHeads: number, width: number, height: number): GridLayout {
  const x0 = 24,
    y0 = 18,
    gap = 3,
    blockGap = 30;
  let best: GridLayout | null = null;
  for (let blocks = 1; blocks <= nLayers; blocks++) {
    const perBlock = Math.ceil(nLayers / blocks);
    const across = (width - x0 - (blocks - 1) * blockGap) / (blocks * nHeads) - gap;
    const down = (height - y0) / perBlock - gap;
    const size = Math.floor(Math.min(across, down, 64));
    if (best && size <= best.size) continue;
    const used = Math.ceil(nLayers / perBlock);
    best = {
      size: Math.max(4, size),
      gap,
      blocks: used,
      perBlock,
      x0,
      y0,
      blockGap,
      nLayers,
      nHeads,
      width: x0 + used * nHeads * (size + gap) + (used - 1) * blockGap,
      height: y0 + perBlock * (size + gap),
    };
  }
  return best as GridLayout;
}

export function headBox(g: GridLayout, layer: number, head: number) {
  const block = Math.floor(layer / g.perBlock);
  const step = g.size + g.gap;
  return { x: g.x0 + block * (g.nHeads * step + g.blockGap) + head * step, y: g.y0 + (layer % g.perBlock) * step, size: g.size };
}

export function headAt(g: GridLayout, x: number, y: number): { layer: number; head: number } | null {
  const step = g.size + g.gap;
  for (let block = 0; block < g.blocks; block++) {
    const left = g.x0 + block * (g.nHeads * step + g.blockGap);
    const head = Math.floor((x - left) / step);
    const row = Math.floor((y - g.y0) / step);
    const layer = block * g.perBlock + row;
    if (head >= 0 && head < g.nHeads && row >= 0 && row < g.perBlock && layer < g.nLayers) return { layer, head };
  }
  return null;
}

export function gridScene(p: Patterns, g: GridLayout, palette: Palette): Scene {
  const marks: Mark[] = [];
  const T = p.tokens.length;
  marks.push({ kind: 'text', x: 0, y: g.y0 - 6, text: 'layer', fill: palette.muted, size: 9 });
  for (let layer = 0; layer < g.nLayers; layer++) {
    for (let head = 0; head < g.nHeads; head++) {
      const box = headBox(g, layer, head);
      if (head === 0)
        marks.push({
          kind: 'text',
          x: box.x - 5,
          y: box.y + g.size / 2 + 3.5,
          text: String(layer),
          fill: palette.muted,
          size: 10,
          anchor: 'end',
          mono: true,
        });
      if (layer % g.perBlock === 0)
        marks.push({
          kind: 'text',
          x: box.x + g.size / 2,
          y: g.y0 - 6,
          text: String(head),
          fill: palette.muted,
          size: 10,
          anchor: 'middle',
          mono: true,
        });
      marks.push({
        kind: 'rect',
        x: box.x,
        y: box.y,
        w: g.size,
        h: g.size,
        fill: palette.surface,
        stroke: palette.line,
        width: 1,
      });
      const bytes = headBytes(p, layer, head);
      if (bytes)
        marks.push({
          kind: 'pixels',
          x: box.x,
          y: box.y,
          w: g.size,
          h: g.size,
          cols: T,
          rows: T,
          rgba: thumbnail(bytes, T, palette),
        });
    }
  }
  return { width: g.width, height: g.height, marks };
}

export interface HeadNumbers {
  previous: number;
  self: number;
  first: number;
  entropy: number;
}

/** Means over queries from the second token on: weight on the token before, on itself, on the first token; and entropy. */
export function headNumbers(pattern: number[][]): HeadNumbers {
  const T = pattern.length;
  const total = { previous: 0, self: 0, first: 0, entropy: 0 };
  for (let q = 1; q < T; q++) {
    total.previous += pattern[q][q - 1];
    total.self += pattern[q][q];
    total.first += pattern[q][0];
    for (let k = 0; k <= q; k++) if (pattern[q][k] > 0) total.entropy -= pattern[q][k] * Math.log(pattern[q][k]);
  }
  const n = Math.max(1, T - 1);
  return { previous: total.previous / n, self: total.self / n, first: total.first / n, entropy: total.entropy / n };
}

export function strongest(values: number[], count: number): { index: number; value: number }[] {
  return values
    .map((value, index) => ({ index, value }))
    .sort((a, b) => b.value - a.value)
    .slice(0, count);
}
