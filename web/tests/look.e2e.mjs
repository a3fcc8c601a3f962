import { readFileSync } from 'node:fs';
import { assert, away, experiment, lensPixels, live, look, onPage, until } from './browser.mjs';

const answer = encodeURIComponent(experiment.answer);
const edit = `&edit=${encodeURIComponent('blocks.16.hook_resid_post,pos=3=from:The capital of France is the city of@3')}`;
const ready = (page, part = 'lens') =>
  page.waitForSelector(`[data-part=${part}][data-settled=true] table`, { state: 'attached' });

/** `[rows from the end down][columns]`: what the table behind the map says. */
const values = (page, part = 'lens') =>
  page.$$eval(`[data-part=${part}] tbody tr`, (rows) =>
    rows.map((r) => [...r.cells].slice(1).map((c) => Number(c.innerText.trim().split(' ').at(-1)))),
  );

for (const colorScheme of ['light', 'dark']) {
  onPage(`the most probable cell has the strongest colour on the canvas, ${colorScheme}`, { colorScheme }, async (page) => {
    await page.goto(look());
    await live(page);
    await ready(page);
    const table = (await values(page)).reverse();
    const pixels = await lensPixels(page);
    const surface = colorScheme === 'light' ? [255, 255, 255] : [0x17, 0x17, 0x1e];
    const cells = table.flatMap((row, point) => row.map((p, column) => ({ p, strength: away(pixels[point][column], surface) })));
    const most = cells.reduce((a, b) => (b.p > a.p ? b : a)),
      least = cells.reduce((a, b) => (b.p < a.p ? b : a));
    assert.ok(most.strength > 60, `strongest ${most.strength}`);
    for (const c of cells)
      if (c.p < most.p - 0.02)
        assert.ok(c.strength <= most.strength, `p ${c.p} has ${c.strength}, p ${most.p} has ${most.strength}`);
    assert.ok(least.strength < most.strength / 2);
  });
}

onPage('a click selects a cell, its words can be followed, the address holds it', {}, async (page) => {
  await page.goto(look());
  await live(page);
  await ready(page);
  await page.locator('[data-part=details] ol button', { hasText: experiment.answer.trim() }).click();
  await page.waitForSelector('.follow');
  assert.match(page.url(), /follow=/);
  await page.click('text=Rank');
  await until(page, 'ranks in the table', () =>
    /\d/.test(document.querySelector('[data-part=lens] tbody td:last-child')?.innerText),
  );
  const canvas = page.locator('[data-part=lens] canvas');
  const l = JSON.parse(await canvas.getAttribute('data-layout'));
  await canvas.click({ position: { x: l.x0 + l.cw * 3.5, y: l.y0 + l.ch * 10.5 } });
  await until(page, 'the details to speak of token 3', () =>
    /token 3/.test(document.querySelector('[data-part=details] h2').innerText),
  );
  const address = page.url();
  await page.goto('about:blank');
  await page.goto(address);
  await ready(page);
  assert.match(await page.locator('[data-part=details] h2').innerText(), /token 3/);
  assert.equal(await page.locator('.segments [aria-pressed=true]').first().innerText(), 'Rank');
});

onPage('the last row ends with the answer, hover shows five words', {}, async (page) => {
  await page.goto(look(`&follow=${answer}`));
  await live(page);
  await ready(page);
  assert.match(await page.locator('[data-part=lens] tbody tr').first().innerText(), new RegExp(experiment.answer.trim()));
  const canvas = page.locator('[data-part=lens] canvas');
  const l = JSON.parse(await canvas.getAttribute('data-layout'));
  await canvas.hover({ position: { x: l.x0 + l.cw * 2.5, y: l.y0 + l.ch * 4.5 } });
  await page.waitForSelector('.tip li');
  assert.equal(await page.locator('.tip li').count(), 5);
});

onPage('an edit shows before and after side by side, and their difference', {}, async (page) => {
  await page.goto(look(`&follow=${answer}${edit}`));
  await live(page);
  await ready(page, 'lens-after');
  const [before, after] = [await values(page), await values(page, 'lens-after')];
  assert.ok(before[0].at(-1) > 0.3 && after[0].at(-1) < 0.2, `${before[0].at(-1)} → ${after[0].at(-1)}`);
  await page.click('text=Difference');
  await until(page, 'one map', () => !document.querySelector('[data-part=lens-after]'));
  const pixels = await lensPixels(page);
  const [r, , b] = pixels.at(-1).at(-1);
  assert.ok(r > b, 'what the edit weakened has the other hue');
  await page.click('[aria-label^=Remove]');
  await until(page, 'the edit to be gone', () => !document.querySelector('.chip'));
  await page.goBack();
  await page.waitForSelector('.chip');
});

onPage('a head is turned off with the form', {}, async (page) => {
  await page.goto(look());
  await live(page);
  await ready(page);
  await page.click('text=Change something');
  await page.fill('form input[type=number] >> nth=0', '5');
  await page.fill('form input[type=number] >> nth=1', '2');
  await page.click('text=Apply');
  await page.waitForSelector('text=head 5.2 off');
  await ready(page, 'lens-after');
  assert.match(decodeURIComponent(page.url()), /blocks\.5\.attn\.hook_z,head=2=zero/);
});

onPage('generation grows the map token by token, stops, and the link keeps the text', {}, async (page) => {
  await page.goto(look('&max=200'));
  await live(page);
  await ready(page);
  const columns = () => page.$eval('[data-part=lens] canvas', (c) => JSON.parse(c.dataset.layout).cols);
  const before = await columns();
  await page.click('text=Write on');
  await until(
    page,
    'three more columns',
    (n) => JSON.parse(document.querySelector('[data-part=lens] canvas').dataset.layout).cols >= n + 3,
    before,
  );
  await page.click('text=Stop');
  await page.waitForSelector('text=Write on');
  await until(page, 'the address to hold the ids', () => /gen=/.test(location.hash));
  const n = await columns();
  await page.reload();
  await ready(page);
  await until(
    page,
    'the same columns',
    (want) => JSON.parse(document.querySelector('[data-part=lens] canvas').dataset.layout).cols === want,
    n,
  );
});

onPage('another address takes over no tokens of a text being written', {}, async (page) => {
  await page.goto(look('&max=200'));
  await live(page);
  await ready(page);
  await page.click('text=Write on');
  await until(page, 'tokens to arrive', () => document.querySelectorAll('.left .token').length > 9);
  await page.goto(look('', 'one two'));
  await page.waitForSelector('text=Write on');
  await until(page, 'the other text alone', () => document.querySelectorAll('.left .token').length === 2);
  await ready(page);
  assert.doesNotMatch(page.url(), /gen=/);
  assert.equal(await page.locator('text=Back to the prompt').count(), 0);
});

onPage('what the server refuses is said in place and the last picture stays', {}, async (page) => {
  await page.goto(look());
  await live(page);
  await ready(page);
  await page.goto(look(`&edit=${encodeURIComponent('blocks.99.hook_mlp_out=zero')}`));
  await page.waitForSelector('[role=alert]');
  assert.match(await page.locator('[role=alert]').first().innerText(), /99|layer/);
  assert.ok(await page.locator('[data-part=lens] canvas').isVisible());
  await page.click('text=Remove the last change');
  await until(page, 'the error to be gone', () => !document.querySelector('[role=alert]'));
});

onPage('text from a prompt is inert and shown exactly', {}, async (page) => {
  await page.goto(look('', '<img src=x onerror=alert(1)>\nend'));
  await live(page);
  await ready(page);
  assert.equal(await page.locator('img').count(), 0);
  assert.match((await page.locator('.tokens .token').allInnerTexts()).join(''), /↵/);
});

onPage('a picture is exported with its title, and its numbers as CSV', {}, async (page) => {
  await page.goto(look());
  await live(page);
  await ready(page);
  const get = async (what) => {
    await page.click('[data-part=lens] summary');
    const [file] = await Promise.all([page.waitForEvent('download'), page.click(`[data-part=lens] .list >> text=${what}`)]);
    return readFileSync(await file.path(), 'utf8');
  };
  const svg = await get('Picture (SVG)');
  assert.match(svg, /What each layer would say next/);
  assert.match(svg, /Portugal/);
  const csv = await get('Numbers (CSV)');
  assert.equal(csv.split('\r\n')[0].split(',')[0], 'point');
  assert.ok(csv.split('\r\n').length > 200);
});
