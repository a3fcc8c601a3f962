import { assert, heads, live, look, onPage, until, URL_BASE } from './browser.mjs';

const ready = (page) => page.waitForSelector('[data-part=heads][data-settled=true] table', { state: 'attached' });
const title = (page) => page.locator('[data-part=details] h2').innerText();

onPage('every head is drawn and fits the window at 1280', {}, async (page) => {
  await page.goto(heads());
  await live(page);
  await ready(page);
  const seen = await page.evaluate(() => {
    const canvas = document.querySelector('[data-part=heads] canvas');
    const l = JSON.parse(canvas.dataset.layout);
    const c = canvas.getContext('2d');
    const ratio = canvas.width / parseFloat(canvas.style.width);
    let drawn = 0;
    for (let layer = 0; layer < l.nLayers; layer++)
      for (let head = 0; head < l.nHeads; head++) {
        const step = l.size + l.gap,
          block = Math.floor(layer / l.perBlock);
        const x = l.x0 + block * (l.nHeads * step + l.blockGap) + head * step,
          y = l.y0 + (layer % l.perBlock) * step;
        const data = c.getImageData(x * ratio + 1, y * ratio + 1, l.size * ratio - 2, l.size * ratio - 2).data;
        let inked = false;
        for (let i = 0; i < data.length; i += 4) if (data[i + 3] && data[i] < 200) inked = true;
        drawn += inked ? 1 : 0;
      }
    return { drawn, all: l.nLayers * l.nHeads, bottom: canvas.getBoundingClientRect().bottom, size: l.size };
  });
  assert.equal(seen.drawn, seen.all);
  assert.ok(seen.bottom <= 800, `ends at ${seen.bottom}`);
  assert.ok(seen.size >= 28, `${seen.size} px`);
});

onPage('the keyboard moves, opens, closes, reaches the prompt and lists itself', {}, async (page) => {
  await page.goto(heads());
  await live(page);
  await ready(page);
  for (const key of ['ArrowRight', 'ArrowRight', 'ArrowDown']) await page.keyboard.press(key);
  assert.equal(await title(page), 'Head 1.2');
  await page.keyboard.press('Enter');
  await page.waitForSelector('[data-part=pattern] canvas');
  await page.keyboard.press('ArrowRight');
  assert.equal(await title(page), 'Head 1.3');
  await page.keyboard.press('Escape');
  await until(page, 'the large pattern to close', () => !document.querySelector('[data-part=pattern]'));
  await page.keyboard.press('?');
  await page.waitForSelector('dialog[open]');
  await page.keyboard.press('Escape');
  await until(page, 'the list to close', () => !document.querySelector('dialog[open]'));
  await page.keyboard.press('/');
  await until(page, 'the prompt to have the focus', () => document.activeElement?.id === 'prompt');
  await page.keyboard.press('Escape');
  await page.keyboard.press('2');
  await page.waitForSelector('[data-part=lens] canvas');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowLeft');
  await until(page, 'the selection to have moved', () =>
    /Layer 28, token 6/.test(document.querySelector('[data-part=details] h2').innerText),
  );
  await page.keyboard.press('Tab');
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(outline, 'none');
});

onPage('a click opens a head, the pointer reads a weight, tokens connect both ways', {}, async (page) => {
  await page.goto(heads('&head=3.1&open=1'));
  await live(page);
  const canvas = page.locator('[data-part=pattern] canvas');
  await canvas.waitFor();
  await page.waitForSelector('[data-part=pattern][data-settled=true] table', { state: 'attached' });
  const l = JSON.parse(await canvas.getAttribute('data-layout'));
  await canvas.hover({ position: { x: l.x0 + l.step * 0.5, y: l.y0 + l.step * 4.5 } });
  await until(page, 'the weight', () => /reads\s+\d\.\d{3}/.test(document.querySelector('[data-part=pattern]').innerText));
  await page.click('text=Lines');
  await until(page, 'lines', () => document.querySelector('[data-part=pattern] canvas').getBoundingClientRect().height > 100);
  assert.match(page.url(), /lines=1/);
  await page.click('[data-part=details] >> text=Turn off');
  await page.waitForSelector('text=head 3.1 off');
});

for (const colorScheme of ['light', 'dark']) {
  onPage(
    `at 390 px every view scrolls in one direction only, ${colorScheme}`,
    { viewport: { width: 390, height: 844 }, colorScheme },
    async (page) => {
      for (const [address, part] of [
        [`${URL_BASE}/`, 'rise'],
        [look(), 'lens'],
        [heads(), 'heads'],
        [heads('&open=1'), 'pattern'],
      ]) {
        await page.goto(address);
        await live(page);
        await page.waitForSelector(`[data-part=${part}] :is(canvas, .area svg)`);
        const size = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
        assert.equal(size[0], size[1], address);
      }
    },
  );
}

onPage('the theme can be chosen and stays chosen', { colorScheme: 'light' }, async (page) => {
  await page.goto(heads());
  await page.click('[aria-label="Dark theme"]');
  await page.reload();
  assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), 'dark');
});
