#!/usr/bin/env node
/**
 * Makes the pictures of README.md and docs/ from a running server: screenshots of the page, and the lens of the terminal
 * rendered from the colours that the program prints. `make pictures` starts the server and calls this.
 *
 *     node scripts/make_pictures.mjs http://127.0.0.1:8571 build/bin/microtome docs/pictures
 *
 * It needs `npm ci` in web/, chromium (or CHROMIUM) and script(1).
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));
const require = createRequire(join(root, 'web/package.json'));
const { chromium } = require('playwright-core');
const experiment = JSON.parse(readFileSync(join(root, 'web/src/experiment.json'), 'utf8'));
const [server = 'http://127.0.0.1:8571', program = join(root, 'build/bin/microtome'), folder = join(root, 'docs/pictures')] =
  process.argv.slice(2);

const MODEL = 'smollm2-135m';
const LARGEST = 250_000; // bytes of one picture
const wide = { width: 1280, height: 800 };
const roomy = { width: 1440, height: 780 };
const phone = { width: 390, height: 844 };

const address = (view, fields) => `#/${view}?${new URLSearchParams({ prompt: experiment.prompt, ...fields })}`;
const follow = experiment.answer;
const edit = `${experiment.edit.site},pos=${experiment.edit.pos}=from:${experiment.edit.value}`;
// A text that repeats, and a head that looks for what came after the last time: an induction head.
const repeated = { prompt: experiment.examples[1].prompt, head: '8.2' };

/** Each picture: its address, the parts that must be drawn, and how much of the page it shows. */
const PICTURES = [
  { name: 'start', at: '#/start', parts: ['rise'] },
  { name: 'experiment', at: '#/start?changed=1', parts: ['rise', 'control'] },
  { name: 'lens', at: address('look', { follow }), parts: ['lens'], onlyMiddle: true },
  { name: 'edit', at: address('look', { follow, edit }), parts: ['lens', 'lens-after'], viewport: roomy },
  { name: 'heads', at: address('heads', repeated), parts: ['heads'], onlyMiddle: true },
  { name: 'pattern', at: address('heads', { ...repeated, open: '1' }), parts: ['heads', 'pattern'] },
  { name: 'dark', at: address('look'), parts: ['lens'], colorScheme: 'dark' },
  { name: 'phone', at: '#/start?changed=1', parts: ['rise', 'control'], viewport: phone },
];

/** A README should load at once. */
function report(file) {
  const bytes = statSync(file).size;
  if (bytes > LARGEST) throw new Error(`${file} has ${bytes} bytes, at most ${LARGEST} are wanted`);
  console.log(`${file}  ${Math.round(bytes / 1000)} kB`);
}

/** From the top of the page's middle part to the end of what it holds. */
const middle = (page) =>
  page.locator('.frame main').evaluate((main) => {
    const { x, y, width } = main.getBoundingClientRect();
    return { x, y, width, height: main.lastElementChild.getBoundingClientRect().bottom - y + 14 };
  });

async function untilServed() {
  for (let tries = 0; tries < 120; tries++) {
    if (await fetch(`${server}/healthz`).catch(() => null)) return;
    await new Promise((done) => setTimeout(done, 500));
  }
  throw new Error(`nothing answers at ${server}; start it with: microtome serve ${MODEL}`);
}

async function screenshot(browser, { name, at, parts, onlyMiddle, colorScheme = 'light', viewport = wide }) {
  const context = await browser.newContext({ viewport, colorScheme, reducedMotion: 'reduce' });
  const page = await context.newPage();
  await page.goto(`${server}/${at}`);
  await page.waitForSelector('[data-server=ok]');
  for (const away of await page.locator('text=Put away').all()) if (!at.startsWith('#/start')) await away.click();
  await page.mouse.move(0, 0);
  for (const part of parts) await page.waitForSelector(`[data-part=${part}][data-settled=true]`);
  await page.evaluate(() => document.fonts.ready);
  const file = join(folder, `${name}.png`);
  await page.screenshot({ path: file, animations: 'disabled', ...(onlyMiddle ? { clip: await middle(page) } : {}) });
  await context.close();
  report(file);
}

const escapeHtml = (text) => text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);

/** The program's coloured output (SGR: reset, bold, dim, 256 colours and true colours) as HTML. */
function ansiToHtml(text) {
  let style = '';
  const css = (codes) => {
    const n = codes.split(';').map(Number);
    for (let i = 0; i < n.length; i++) {
      if (n[i] === 0) style = '';
      else if (n[i] === 1) style += 'font-weight:600;';
      else if (n[i] === 2) style += 'opacity:.6;';
      else if (n[i] === 38 || n[i] === 48) {
        const rgb = n[i + 1] === 2 ? n.slice(i + 2, i + 5) : cube(n[i + 2]);
        style += `${n[i] === 38 ? 'color' : 'background'}:rgb(${rgb});`;
        i += n[i + 1] === 2 ? 4 : 2;
      }
    }
  };
  return text
    .split(/\x1b\[([\d;]*)m/)
    .map((part, i) => (i % 2 ? (css(part || '0'), '') : `<span style="${style}">${escapeHtml(part)}</span>`))
    .join('');
}

/** Colour n of the 256-colour table, 16 and above. */
function cube(n) {
  if (n >= 232) return Array(3).fill(8 + (n - 232) * 10);
  const level = (k) => (k ? 55 + 40 * k : 0);
  return [Math.floor((n - 16) / 36), Math.floor((n - 16) / 6) % 6, (n - 16) % 6].map(level);
}

async function terminal(browser) {
  const command = `microtome lens ${MODEL} --prompt '${experiment.prompt}'`;
  // script(1) gives the program the terminal that makes it use colours.
  const quoted = [program, 'lens', MODEL, '--prompt', experiment.prompt].map((a) => `'${a}'`).join(' ');
  const printed = execFileSync('script', ['-qec', `stty cols 118; ${quoted} --quiet`, '/dev/null'], {
    encoding: 'utf8',
    env: { ...process.env, TERM: 'xterm-256color', COLORTERM: 'truecolor' },
    stdio: ['ignore', 'pipe', 'inherit'],
  }).replaceAll('\r', '');
  const page = await browser.newPage({ viewport: { width: 1000, height: 700 } });
  await page.setContent(
    `<style>body{margin:0;background:#15151b}pre{display:inline-block;margin:0;padding:18px 22px;color:#dcdce4;font:13px/1.32 "IBM Plex Mono","DejaVu Sans Mono",monospace}</style>` +
      `<pre><span style="opacity:.6">$ </span>${escapeHtml(command)}\n${ansiToHtml(printed.trimEnd())}</pre>`,
  );
  const file = join(folder, 'terminal.png');
  await page.locator('pre').screenshot({ path: file });
  await page.close();
  report(file);
}

await untilServed();
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--hide-scrollbars'],
});
try {
  for (const picture of PICTURES) await screenshot(browser, picture);
  await terminal(browser);
} finally {
  await browser.close();
}
