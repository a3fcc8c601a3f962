/** Light or dark: the system's, until the person chooses. Pictures read their colours here, so both come from app.css. */
import type { Palette } from '../marks/colour';

const NAMES = ['surface', 'ink', 'muted', 'line', 'stain', 'counter', 'focus'] as const;

function read(): Palette {
  const style = getComputedStyle(document.documentElement);
  const palette = { dark: style.colorScheme === 'dark' } as Palette;
  for (const name of NAMES) palette[name] = style.getPropertyValue(`--${name}`).trim();
  return palette;
}

class Theme {
  palette = $state.raw<Palette>(read());
  /** Counts the arrivals of fonts: canvases paint again. */
  fonts = $state(0);

  constructor() {
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => (this.palette = read()));
    void document.fonts?.ready.then(() => this.fonts++);
    document.fonts?.addEventListener('loadingdone', () => this.fonts++);
  }

  toggle(): void {
    const theme = this.palette.dark ? 'light' : 'dark';
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem('microtome.theme', theme);
    } catch {
      // Storage is off: the choice lasts as long as the page.
    }
    this.palette = read();
  }
}

export const theme = new Theme();
