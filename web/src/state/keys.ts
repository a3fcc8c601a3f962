/** The keyboard: which key does what, and the list that `?` shows. */
import { app } from './app.svelte';

export const KEYS: [string, string][] = [
  [
    '← → ↑ ↓',
    'move the selection: token and layer in the map, head and layer in the heads, the place in a patching map, the node of a circuit',
  ],
  ['Enter', 'open what is selected: the heads of a layer, a head'],
  ['Esc', 'close; back to all heads'],
  ['/', 'to the prompt'],
  ['1 … 5', 'Start, Look, Heads, Patch, Circuits'],
  ['?', 'this list'],
];

const STEPS: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const clamp = (x: number, high: number) => Math.min(high, Math.max(0, x));

function move([across, up]: [number, number]): boolean {
  const { view, layer, head } = app.s;
  if (app.mover) return app.mover(across, up);
  if (view === 'look' && app.shown) {
    app.select(
      clamp(app.selectedPoint + up, app.shown.points.length - 1),
      clamp(app.selectedPosition + across, app.tokens.length - 1),
    );
    return true;
  }
  if (view === 'heads') {
    // The grid runs downwards: up is the layer before.
    app.go({ layer: clamp(layer - up, app.nLayers - 1), head: clamp(head + across, app.nHeads - 1) });
    return true;
  }
  return false;
}

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

/** Handles a key of the page; true if it was one. */
export function onKey(event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  if (event.key === 'Escape') {
    if (app.keysOpen) app.keysOpen = false;
    else if (app.s.view === 'heads' && app.s.open && !typing(event.target)) app.go({ open: false }, true);
    else return false;
    return true;
  }
  if (typing(event.target)) return false;
  if (app.keysOpen) return false;
  if (event.key === '?') {
    app.keysOpen = true;
    return true;
  }
  if (event.key === '/') {
    if (app.s.view !== 'look' && app.s.view !== 'heads') app.open('look');
    requestAnimationFrame(() => document.getElementById('prompt')?.focus());
    return true;
  }
  const view = ({ 1: 'start', 2: 'look', 3: 'heads', 4: 'patch', 5: 'circuits' } as const)[event.key];
  if (view) {
    app.open(view);
    return true;
  }
  if (event.key in STEPS) return move(STEPS[event.key]);
  const onControl = event.target instanceof HTMLElement && /^(BUTTON|A|SUMMARY)$/.test(event.target.tagName);
  if (event.key === 'Enter' && !onControl) {
    if (app.s.view === 'look') {
      app.go({ view: 'heads', open: false }, true);
      return true;
    }
    if (app.s.view === 'heads' && !app.s.open) {
      app.go({ open: true }, true);
      return true;
    }
  }
  return false;
}
