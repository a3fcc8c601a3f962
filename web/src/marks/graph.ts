/**
 * A circuit as a picture: nodes in rows by layer (the input at the bottom) and in columns by head, or by the role of the
 * position where the circuit is resolved by position; edges by score. Pure.
 *
 * Names: `input`, `a5.h1`, `m5`, `logits`; what receives: `a5.h1<q>`, `<k>`, `<v>` (key and value by key/value head), `m5`,
 * `logits`; with `@role` behind it when resolved by position.
 */
import type { Circuit } from '../api/circuit_types';
import type { Palette } from './colour';
import type { Table } from './export';
import { line, round, type Mark, type Scene } from './scene';

export interface GraphNode {
  id: string;
  kind: 'input' | 'head' | 'mlp' | 'logits';
  layer: number;
  head: number;
  role: string;
}

export interface GraphEdge {
  from: string;
  to: string;
  /** What of the receiver is meant: q, k, v, or nothing. */
  port: string;
  score: number;
  exact?: number;
  /** The ends as the file has them. */
  written: [string, string];
}

export interface Shape {
  nLayers: number;
  nHeads: number;
  nKvHeads: number;
}

const NAME = /^(?:(input|logits)|a(\d+)\.h(\d+)(?:<([qkv])>)?|m(\d+))(?:<[a-z]+>)?(?:@(.*))?$/;

/** A node's name, or a receiver's: null where it is neither. */
export function parseNode(name: string): (GraphNode & { port: string }) | null {
  const found = NAME.exec(name);
  if (!found) return null;
  const [, end, layer, head, port, mlp, role = ''] = found;
  const at = role ? `@${role}` : '';
  if (end === 'input') return { id: `input${at}`, kind: 'input', layer: -1, head: 0, role, port: '' };
  if (end === 'logits') return { id: `logits${at}`, kind: 'logits', layer: 1e6, head: 0, role, port: '' };
  if (mlp !== undefined) return { id: `m${mlp}${at}`, kind: 'mlp', layer: Number(mlp), head: 0, role, port: '' };
  return { id: `a${layer}.h${head}${at}`, kind: 'head', layer: Number(layer), head: Number(head), role, port: port ?? '' };
}

/** `5.1` for a head, `m5` for an MLP. */
export function nodeLabel(id: string): string {
  const n = parseNode(id);
  if (!n) return id;
  return n.kind === 'head' ? `${n.layer}.${n.head}` : n.kind === 'mlp' ? `m${n.layer}` : n.kind;
}

export interface Drawn {
  nodes: GraphNode[];
  edges: GraphEdge[];
  /** False: nothing leads from the input to the logits, and the edges are drawn with their loose ends. */
  complete: boolean;
}

/**
 * The strongest `count` edges, as drawn: a key/value head's input goes to each of its query heads that is a node by its own
 * output; nodes without input or output, and their edges, left out, unless nothing would be left.
 */
export function drawnCircuit(circuit: Circuit, count: number, shape: Shape): Drawn {
  const strongest = circuit.edges
    .map((e) => ({ ...e, score: e.score ?? 0 }))
    .sort((a, b) => Math.abs(b.score) - Math.abs(a.score))
    .slice(0, count);
  const sources = new Set(strongest.map((e) => parseNode(e.from)?.id).filter((id) => id !== undefined));
  const group = Math.max(1, Math.round(shape.nHeads / Math.max(1, shape.nKvHeads)));
  const edges: GraphEdge[] = [];
  for (const e of strongest) {
    const from = parseNode(e.from),
      to = parseNode(e.to);
    if (!from || !to) continue;
    const at = to.role ? `@${to.role}` : '';
    const readers =
      to.kind === 'head' && (to.port === 'k' || to.port === 'v') && group > 1
        ? Array.from({ length: group }, (_, i) => `a${to.layer}.h${to.head * group + i}${at}`).filter((id) => sources.has(id))
        : [to.id];
    for (const id of readers)
      edges.push({ from: from.id, to: id, port: to.port, score: e.score, exact: e.exact, written: [e.from, e.to] });
  }
  return pruned(edges);
}

function pruned(edges: GraphEdge[]): Drawn {
  let kept = edges;
  for (;;) {
    const written = new Set(kept.map((e) => e.from)),
      read = new Set(kept.map((e) => e.to));
    const next = kept.filter(
      (e) => (e.from.startsWith('input') || read.has(e.from)) && (e.to.startsWith('logits') || written.has(e.to)),
    );
    if (next.length === kept.length) break;
    kept = next;
  }
  const complete = kept.length > 0;
  if (!complete) kept = edges;
  const ids = [...new Set(kept.flatMap((e) => [e.from, e.to]))];
  const nodes = ids.map(parseNode).filter((n) => n !== null);
  nodes.sort((a, b) => level(a) - level(b) || a.role.localeCompare(b.role) || a.head - b.head);
  return { nodes, edges: kept, complete };
}

const level = (n: GraphNode): number => (n.kind === 'mlp' ? 2 * n.layer + 1 : 2 * n.layer);

export interface GraphLayout {
  width: number;
  height: number;
  w: number;
  h: number;
  at: Map<string, { x: number; y: number }>;
  roles: string[];
  /** Rows that have nodes: what they are, and where. */
  rows: { name: string; y: number }[];
  columns: { name: string; x: number }[];
}

export function graphLayout(drawn: Drawn, shape: Shape, width: number, tallest: number, roles: string[] = []): GraphLayout {
  const x0 = 30,
    top = 18;
  const levels = [...new Set(drawn.nodes.map(level))].sort((a, b) => a - b);
  const used = [...new Set(drawn.nodes.map((n) => n.role))].filter(Boolean);
  const order = [...roles.filter((r) => used.includes(r)), ...used.filter((r) => !roles.includes(r)).sort()];
  const step = Math.max(24, Math.min(46, (tallest - top - 30) / Math.max(1, levels.length)));
  const columns = order.length || shape.nHeads + 1;
  const cw = (width - x0 - 4) / columns;
  const h = Math.min(20, step - 6);
  const y = (n: GraphNode) => top + (levels.length - 1 - levels.indexOf(level(n))) * step + step / 2;
  const at = new Map<string, { x: number; y: number }>();
  let w = Math.max(22, Math.min(46, cw - 5));
  if (!order.length) {
    for (const n of drawn.nodes) {
      const column = n.kind === 'head' ? n.head : n.kind === 'mlp' ? shape.nHeads : (columns - 1) / 2;
      at.set(n.id, { x: x0 + (column + 0.5) * cw, y: y(n) });
    }
  } else {
    const places = new Map<string, GraphNode[]>();
    for (const n of drawn.nodes) {
      const key = `${level(n)} ${n.role}`;
      places.set(key, [...(places.get(key) ?? []), n]);
    }
    const most = Math.max(1, ...[...places.values()].map((p) => p.length));
    w = Math.max(16, Math.min(40, cw / most - 4));
    for (const list of places.values())
      list.forEach((n, i) => {
        const column = n.role ? order.indexOf(n.role) : (columns - 1) / 2;
        at.set(n.id, { x: x0 + (column + 0.5) * cw + (i - (list.length - 1) / 2) * (w + 4), y: y(n) });
      });
  }
  const rows = levels.map((l) => {
    const name = l < 0 ? '' : l >= 2e6 ? '' : String(Math.floor(l / 2));
    return { name, y: top + (levels.length - 1 - levels.indexOf(l)) * step + step / 2 };
  });
  const names = order.length ? order : [...Array.from({ length: shape.nHeads }, (_, i) => `h${i}`), 'MLP'];
  return {
    width,
    height: top + levels.length * step + 24,
    w,
    h,
    at,
    roles: order,
    rows,
    columns: names.map((name, i) => ({ name, x: x0 + (i + 0.5) * cw })),
  };
}

const PORTS: Record<string, number> = { q: -0.28, k: 0, v: 0.28 };

export function edgePath(l: GraphLayout, e: GraphEdge): string {
  const a = l.at.get(e.from),
    b = l.at.get(e.to);
  if (!a || !b) return '';
  const y1 = a.y - l.h / 2,
    y2 = b.y + l.h / 2,
    x2 = b.x + (PORTS[e.port] ?? 0) * l.w;
  const bend = Math.max(8, (y1 - y2) * 0.45);
  return `M${round(a.x)} ${round(y1)}C${round(a.x)} ${round(y1 - bend)} ${round(x2)} ${round(y2 + bend)} ${round(x2)} ${round(y2)}`;
}

export function graphScene(d: Drawn, l: GraphLayout, palette: Palette, selected = ''): Scene {
  const marks: Mark[] = [];
  const text = { kind: 'text' as const, fill: palette.muted, size: 10, mono: true };
  let above = Infinity;
  for (const r of [...l.rows].reverse()) {
    if (r.name) marks.push(line(26, r.y, l.width, r.y, palette.line, 0.6));
    if (r.name && r.name !== String(above)) marks.push({ ...text, x: 20, y: r.y + 3.5, text: r.name, anchor: 'end' });
    above = Number(r.name);
  }
  for (const c of l.columns) marks.push({ ...text, x: c.x, y: l.height - 6, text: c.name, anchor: 'middle' });
  marks.push({ ...text, x: 0, y: 10, text: 'layer', mono: false });
  const high = Math.max(1e-12, ...d.edges.map((e) => Math.abs(e.score)));
  const touches = (e: GraphEdge) => !selected || e.from === selected || e.to === selected;
  // Weak ones first, so that strong ones lie on top; what the selection does not touch stays behind.
  const order = [...d.edges].sort((a, b) => Number(touches(a)) - Number(touches(b)) || Math.abs(a.score) - Math.abs(b.score));
  for (const e of order) {
    const share = Math.abs(e.score) / high;
    marks.push({
      kind: 'path',
      d: edgePath(l, e),
      // Scores say what breaking the edge does to the answer: one that lowers it when broken speaks for it.
      stroke: e.score > 0 ? palette.counter : palette.stain,
      width: round(0.8 + 5 * share),
      dash: e.score > 0 ? '5 3' : undefined,
      opacity: touches(e) ? round(0.35 + 0.6 * Math.sqrt(share)) : 0.08,
    });
  }
  for (const n of d.nodes) {
    const p = l.at.get(n.id);
    if (!p) continue;
    const ends = n.kind === 'input' || n.kind === 'logits';
    const w = ends && !n.role ? 52 : l.w;
    const on = n.id === selected;
    marks.push({
      kind: 'rect',
      x: p.x - w / 2,
      y: p.y - l.h / 2,
      w,
      h: l.h,
      radius: n.kind === 'mlp' ? 2 : 7,
      fill: on ? palette.stain : palette.surface,
      stroke: ends ? palette.ink : on ? palette.stain : palette.muted,
      width: ends || on ? 1.6 : 1,
    });
    marks.push({
      kind: 'text',
      x: p.x,
      y: p.y + 3.6,
      text: w < 30 && ends ? n.kind.slice(0, 3) : nodeLabel(n.id),
      fill: on ? palette.surface : palette.ink,
      size: w < 26 ? 8.5 : 10,
      anchor: 'middle',
      mono: true,
    });
  }
  return { width: l.width, height: l.height, marks };
}

export function nodeAt(l: GraphLayout, x: number, y: number): string | null {
  for (const [id, p] of l.at) if (Math.abs(p.x - x) <= Math.max(l.w, 24) / 2 && Math.abs(p.y - y) <= l.h / 2 + 2) return id;
  return null;
}

/** Edges of the graph of a model without position roles (circuits specification, section 8). */
export function edgeCount({ nLayers: L, nHeads: H, nKvHeads: K }: Shape): number {
  let n = 1 + L * (H + 1);
  for (let l = 0; l < L; l++) n += (H + 2 * K) * (1 + (H + 1) * l) + (1 + (H + 1) * l + H);
  return n;
}

export function edgesTable(d: Drawn): Table {
  return {
    columns: ['from', 'to', 'score', 'exact'],
    rows: d.edges.map((e) => [...e.written, e.score, e.exact ?? null]),
  };
}
