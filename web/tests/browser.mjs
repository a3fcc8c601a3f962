/** One browser for a file of tests; each test gets a fresh page that fails on a script error or a request elsewhere. */
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

export const URL_BASE = process.env.MICROTOME_URL.replace(/\/$/, '');
export const experiment = JSON.parse(readFileSync(new URL('../src/experiment.json', import.meta.url), 'utf8'));
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
// A busy machine is slow, not wrong.
export const PATIENCE = 30_000;

let browser;
before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
});
after(async () => browser?.close());

export function onPage(name, options, body) {
  test(name, async () => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    const faults = [];
    page.on('pageerror', (e) => faults.push(e.stack));
    page.on('console', (m) => {
      if (/Content Security Policy/.test(m.text())) faults.push(m.text());
    });
    page.on('request', (r) => {
      if (!r.url().startsWith(URL_BASE) && !/^(blob|data):/.test(r.url())) faults.push(`asked for ${r.url()}`);
    });
    try {
      await body(page);
      assert.deepEqual(faults, []);
    } finally {
      await context.close();
    }
  });
}

export const look = (rest = '', prompt = experiment.prompt) => `${URL_BASE}/#/look?prompt=${encodeURIComponent(prompt)}${rest}`;
export const heads = (rest = '') => look(rest).replace('#/look', '#/heads');

export async function live(page) {
  await page.waitForSelector('[data-server=ok]');
}

/** Until `check` holds in the page; a message says what was waited for. */
export async function until(page, what, check, argument) {
  await page.waitForFunction(check, argument).catch((e) => {
    throw new Error(`waited for: ${what}\n${e.message}`);
  });
}

/** Colours `[r, g, b]` inside each cell of a lens map: points × columns, read off the canvas itself. */
export function lensPixels(page, part = 'lens') {
  return page.evaluate((name) => {
    const canvas = document.querySelector(`[data-part="${name}"] canvas`);
    const l = JSON.parse(canvas.dataset.layout);
    const c = canvas.getContext('2d');
    const ratio = canvas.width / parseFloat(canvas.style.width);
    return Array.from({ length: l.rows }, (_, point) =>
      Array.from({ length: l.cols }, (_, column) => {
        // Near the right edge, clear of the text and of the rounded corner.
        const x = l.x0 + (column + 1) * l.cw - 4,
          y = l.y0 + (l.rows - 1 - point) * l.ch + l.ch / 2;
        return [...c.getImageData(Math.round(x * ratio), Math.round(y * ratio), 1, 1).data.slice(0, 3)];
      }),
    );
  }, part);
}

export const away = ([r, g, b], [x, y, z]) => Math.hypot(r - x, g - y, b - z);
export { assert };
