/**
 * Colour scales that are even to the eye: interpolation in OKLab between the page's own colours. `sequential` runs from
 * the background to one hue, `signed` from one hue through the background to another. Colours are `#rrggbb`. Pure.
 */
export interface Palette {
  dark: boolean;
  surface: string;
  ink: string;
  muted: string;
  line: string;
  /** End of the sequential scale, and of signed scales on the positive side. */
  stain: string;
  /** The negative side of signed scales, and the second line of a chart. */
  counter: string;
  focus: string;
}

type Lab = [number, number, number];
export type Rgb = [number, number, number];

export function rgbOf(hex: string): Rgb {
  const n = parseInt(hex.slice(1), 16);
  return [(n >> 16) & 255, (n >> 8) & 255, n & 255];
}

export function hexOf([r, g, b]: Rgb): string {
  return `#${((1 << 24) | (r << 16) | (g << 8) | b).toString(16).slice(1)}`;
}

const linear = (c: number) => (c <= 10.314 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4);
const gamma = (c: number) =>
  Math.round(255 * Math.min(1, Math.max(0, c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055)));

/** Ottosson 2020, "A perceptual color space for image processing". */
export function labOf(hex: string): Lab {
  const [r, g, b] = rgbOf(hex).map(linear);
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

function rgbOfLab([L, a, b]: Lab): Rgb {
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    gamma(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    gamma(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    gamma(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

export function mix(from: string, to: string, t: number): Rgb {
  const a = labOf(from),
    b = labOf(to);
  return rgbOfLab([0, 1, 2].map((i) => a[i] + (b[i] - a[i]) * t) as Lab);
}

const tables = new Map<string, Rgb[]>();

function table(from: string, to: string): Rgb[] {
  const key = from + to;
  let made = tables.get(key);
  if (!made) tables.set(key, (made = Array.from({ length: 256 }, (_, i) => mix(from, to, i / 255))));
  return made;
}

const step = (t: number) => Math.round(255 * Math.min(1, Math.max(0, t)));

/** t in [0, 1]: 0 is the background. */
export function sequential(p: Palette, t: number): Rgb {
  return table(p.surface, p.stain)[step(t)];
}

/** t in [-1, 1]: 0 is the background. */
export function signed(p: Palette, t: number): Rgb {
  return table(p.surface, t < 0 ? p.counter : p.stain)[step(Math.abs(t))];
}

export function luminance([r, g, b]: Rgb): number {
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

/** WCAG contrast ratio, 1 to 21. */
export function contrast(a: Rgb, b: Rgb): number {
  const [x, y] = [luminance(a), luminance(b)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}

/** Black or white, whichever reads better on `fill`: never under 4.5 : 1. */
export function inkOn(fill: Rgb): string {
  return contrast(fill, [0, 0, 0]) >= contrast(fill, [255, 255, 255]) ? '#000000' : '#ffffff';
}
