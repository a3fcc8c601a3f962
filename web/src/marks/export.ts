/** Pictures and numbers as files. Every exported picture carries its title and a caption of what was computed. Pure. */
import type { Palette } from './colour';
import { MONO, SANS, round, type Mark, type Scene } from './scene';
import { pngOf } from './png';

const escaped = (s: string) =>
  s
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, '\ufffd')
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/"/g, '&quot;');

function attributes(values: Record<string, string | number | undefined>): string {
  return Object.entries(values)
    .filter(([, v]) => v !== undefined)
    .map(([k, v]) => ` ${k}="${typeof v === 'number' ? round(v) : escaped(v as string)}"`)
    .join('');
}

function base64(bytes: Uint8Array): string {
  let s = '';
  for (let i = 0; i < bytes.length; i += 8192) s += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(s);
}

function svgOf(m: Mark): string {
  if (m.kind === 'rect') {
    return `<rect${attributes({
      x: m.x,
      y: m.y,
      width: m.w,
      height: m.h,
      rx: m.radius,
      fill: m.fill ?? 'none',
      stroke: m.stroke,
      'stroke-width': m.width,
    })}/>`;
  }
  if (m.kind === 'text') {
    return `<text${attributes({
      x: m.x,
      y: m.y,
      fill: m.fill,
      'font-size': m.size,
      'font-family': m.mono ? MONO : SANS,
      'text-anchor': m.anchor,
      'font-weight': m.bold ? 600 : undefined,
      transform: m.rotate ? `rotate(${m.rotate} ${round(m.x)} ${round(m.y)})` : undefined,
    })} xml:space="preserve">${escaped(m.text)}</text>`;
  }
  if (m.kind === 'path') {
    return `<path${attributes({
      d: m.d,
      fill: m.fill ?? 'none',
      stroke: m.stroke,
      'stroke-width': m.width,
      'stroke-dasharray': m.dash,
      opacity: m.opacity,
    })}/>`;
  }
  const href = `data:image/png;base64,${base64(pngOf(m.cols, m.rows, m.rgba))}`;
  return `<image${attributes({ x: m.x, y: m.y, width: m.w, height: m.h, preserveAspectRatio: 'none', href })} style="image-rendering:pixelated"/>`;
}

export function svgFile(scene: Scene, title: string, caption: string, palette: Palette): string {
  const head = 34,
    foot = 26;
  const height = scene.height + head + foot;
  const width = Math.max(scene.width, 320);
  const words: Mark[] = [
    { kind: 'text', x: 8, y: 21, text: title, fill: palette.ink, size: 14, bold: true },
    { kind: 'text', x: 8, y: height - 9, text: caption, fill: palette.muted, size: 10 },
  ];
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${round(width)}" height="${round(height)}" viewBox="0 0 ${round(width)} ${round(height)}">` +
    `<title>${escaped(title)}</title><desc>${escaped(caption)}</desc>` +
    `<rect width="100%" height="100%" fill="${palette.surface}"/>${words.map(svgOf).join('')}` +
    `<g transform="translate(0 ${head})">${scene.marks.map(svgOf).join('')}</g></svg>\n`
  );
}

export interface Table {
  columns: string[];
  rows: (string | number | null)[][];
}

export function csvFile(table: Table): string {
  const field = (v: string | number | null) => {
    const s = v === null ? '' : String(v);
    return /[",\n\r]/.test(s) || s !== s.trim() ? `"${s.replace(/"/g, '""')}"` : s;
  };
  return [table.columns, ...table.rows].map((row) => row.map(field).join(',')).join('\r\n') + '\r\n';
}
