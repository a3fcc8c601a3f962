/**
 * A picture as data: a list of marks in pixels, drawn the same way on canvas, as SVG on the page, and in an exported
 * file. Pictures are pure functions from data to a Scene. Pure; no DOM.
 */
export type Mark =
  | { kind: 'rect'; x: number; y: number; w: number; h: number; fill?: string; stroke?: string; width?: number; radius?: number }
  | {
      kind: 'text';
      x: number;
      y: number;
      text: string;
      fill: string;
      size: number;
      anchor?: 'start' | 'middle' | 'end';
      mono?: boolean;
      bold?: boolean;
      rotate?: number;
    }
  | { kind: 'path'; d: string; fill?: string; stroke?: string; width?: number; dash?: string; opacity?: number }
  | { kind: 'pixels'; x: number; y: number; w: number; h: number; cols: number; rows: number; rgba: Uint8ClampedArray };

export interface Scene {
  width: number;
  height: number;
  marks: Mark[];
}

export const MONO = "'IBM Plex Mono', ui-monospace, 'DejaVu Sans Mono', monospace";
export const SANS = "'IBM Plex Sans', system-ui, 'DejaVu Sans', sans-serif";
/** Width of one mono character relative to its size. */
export const MONO_ADVANCE = 0.6;

export function line(x1: number, y1: number, x2: number, y2: number, stroke: string, width = 1, dash?: string): Mark {
  return { kind: 'path', d: `M${round(x1)} ${round(y1)}L${round(x2)} ${round(y2)}`, stroke, width, dash };
}

/** The part of `text` that fits into `width`, cut with an ellipsis; empty if not even three characters would be left. */
export function fitted(text: string, width: number, size: number): string {
  const room = Math.floor(width / (size * MONO_ADVANCE));
  const characters = [...text];
  if (characters.length <= room) return text;
  return room < 4 ? '' : `${characters.slice(0, room - 1).join('')}…`;
}

export function round(x: number): number {
  return Math.round(x * 100) / 100;
}
