import { readFileSync } from 'node:fs';
import { assert, heads, live, look, onPage, until, URL_BASE } from './browser.mjs';

const at = (view, rest = '') => `${URL_BASE}/#/${view}${rest ? `?${rest}` : ''}`;
// Long work on a busy machine.
const SLOW = { timeout: 300_000 };
const settled = (page, part) =>
  page.waitForSelector(`[data-part=${part}][data-settled=true] table`, { state: 'attached', ...SLOW });
const title = (page) => page.locator('[data-part=details] h2').first().innerText();

async function download(page, part, what) {
  await page.click(`[data-part=${part}] summary`);
  const [file] = await Promise.all([page.waitForEvent('download'), page.click(`[data-part=${part}] .list >> text=${what}`)]);
  return readFileSync(await file.path(), 'utf8');
}

/** Every picture gives its title in the SVG and a table as CSV. */
async function exported(page, part, words, column) {
  const svg = await download(page, part, 'Picture (SVG)');
  assert.match(svg, /^<svg /);
  assert.match(svg, words);
  const csv = await download(page, part, 'Numbers (CSV)');
  assert.ok(csv.split('\r\n')[0].split(',').includes(column), csv.split('\r\n')[0]);
  assert.ok(csv.split('\r\n').length > 2);
}

async function clickCell(page, part, column, row) {
  const canvas = page.locator(`[data-part=${part}] canvas`);
  const l = JSON.parse(await canvas.getAttribute('data-layout'));
  const y = l.upwards ? l.rows - 1 - row : row;
  await canvas.click({ position: { x: l.x0 + l.cw * (column + 0.5), y: l.y0 + l.ch * (y + 0.5) } });
  return l;
}

onPage('patching runs on two prompts, a click shows what that one change does', {}, async (page) => {
  await page.goto(at('patch'));
  await live(page);
  await settled(page, 'patch');
  const l = JSON.parse(await page.locator('[data-part=patch] canvas').getAttribute('data-layout'));
  assert.ok(l.rows >= 30 && l.cols >= 13 && l.width <= 720, JSON.stringify(l));
  // The corrupted name's place, low down: restoring it brings the answer back.
  await clickCell(page, 'patch', 9, 3);
  await page.waitForSelector('[data-part=cell] svg', SLOW);
  assert.match(await title(page), /layer 3, token .*John/);
  const value = Number(await page.locator('[data-part=details] dd').first().innerText());
  assert.ok(value > 0.8, `value ${value}`);
  assert.match(page.url(), /cell=3\.9/);
  await page.locator('[data-part=patch] canvas').focus();
  await page.keyboard.press('ArrowUp');
  assert.match(await title(page), /layer 4/);
  await exported(page, 'patch', /John gave a drink/, 'value');
  await page.click('text=See it in the map');
  await page.waitForSelector('.chip');
  assert.match(decodeURIComponent(page.url()), /blocks\.4\.hook_resid_pre,pos=9=from/);
});

onPage('what cannot be patched is refused in place, and the last map stays', {}, async (page) => {
  await page.goto(at('patch'));
  await live(page);
  await settled(page, 'patch');
  await page.fill('textarea >> nth=1', 'Too short');
  await page.click('button.primary');
  await page.waitForSelector('[role=alert]', SLOW);
  assert.match(await page.locator('[role=alert]').innerText(), /token/);
  assert.ok(await page.locator('[data-part=patch] canvas').isVisible());
});

onPage('long work says how far it is, is cancelled by a button and by leaving', {}, async (page) => {
  await page.goto(at('circuits'));
  await live(page);
  await page.click('text=Find the circuit');
  await page.waitForSelector('[data-work=circuit] progress');
  await page.click('[data-work=circuit] >> text=Cancel');
  await page.waitForSelector('text=Cancelled');
  const stopped = page.waitForEvent('requestfailed', { predicate: (r) => r.url().endsWith('/api/circuit'), ...SLOW });
  await page.click('text=Find the circuit');
  await page.waitForSelector('[data-work=circuit] progress');
  await page.click('nav >> text=Start');
  await stopped;
});

onPage('a circuit is found, cut with the slider, measured, and opened again from its file', {}, async (page) => {
  await page.goto(at('circuits', 'find=eap&edges=200&shown=150'));
  await live(page);
  await page.click('text=Find the circuit');
  await settled(page, 'graph');
  await settled(page, 'faithfulness');
  const edges = () => page.locator('[data-part=graph] tbody tr').count();
  const before = await edges();
  const saidBefore = await page.locator('.cost').innerText();
  await page.locator('input[type=range]').fill('20');
  await until(page, 'fewer edges', (n) => document.querySelectorAll('[data-part=graph] tbody tr').length < n, before);
  assert.notEqual(await page.locator('.cost').innerText(), saidBefore);
  assert.match(page.url(), /shown=20/);
  const slider = page.locator('input[type=range]');
  await slider.fill(await slider.getAttribute('max'));
  await page.waitForFunction(() => document.querySelector('[data-part=graph][data-settled=true]'));
  await exported(page, 'graph', /Circuit of ioi/, 'from');
  await page.keyboard.press('ArrowRight');
  assert.match(page.url(), /node=/);
  // A file by hand: two edges.
  const file = {
    schema: 'microtome.circuit.v1',
    task: 'mine',
    nodes: ['input', 'm3', 'logits'],
    edges: [
      { from: 'input', to: 'm3', score: 1, exact: null },
      { from: 'm3', to: 'logits', score: -1, exact: null },
    ],
  };
  await page.setInputFiles('input[type=file]', {
    name: 'c.json',
    mimeType: 'application/json',
    buffer: Buffer.from(JSON.stringify(file)),
  });
  await page.waitForSelector('text=Circuit of mine');
  await page.setInputFiles('input[type=file]', {
    name: 'bad.json',
    mimeType: 'application/json',
    buffer: Buffer.from('{"edges":3}'),
  });
  await page.waitForSelector('[role=alert]');
  assert.match(await page.locator('[role=alert]').innerText(), /bad\.json/);
});

onPage('the sum behind an answer: a map, bars, the total', {}, async (page) => {
  await page.goto(at('circuits', 'part=paths'));
  await live(page);
  await settled(page, 'components');
  await settled(page, 'strongest');
  await clickCell(page, 'components', 3, 23);
  assert.equal(await title(page), 'Head 23.3');
  await exported(page, 'components', /logit of/, 'logit');
  await page.click('text=Open the head');
  await page.waitForSelector('[data-part=heads] canvas');
  assert.match(page.url(), /head=23\.3/);
});

onPage('neurons of facts beside their controls', {}, async (page) => {
  await page.goto(at('circuits', 'part=neurons'));
  await live(page);
  await page.click('text=Find the neurons');
  await settled(page, 'facts');
  await settled(page, 'effect');
  const rows = await page.locator('[data-part=effect] tbody tr').allInnerTexts();
  assert.ok(rows.some((r) => /random neurons/.test(r)) && rows.some((r) => /held-out/.test(r)), rows.join(' | '));
  await exported(page, 'facts', /Knowledge neurons/, 'index');
});

onPage('all heads by two scores and by one; a dot opens its head', {}, async (page) => {
  await page.goto(heads('&heads=map'));
  await live(page);
  await settled(page, 'headmap');
  assert.ok((await page.locator('[data-part=headmap] tbody tr').count()) >= 270);
  await page.selectOption('[data-part=headmap] select >> nth=0', 'copying');
  assert.match(page.url(), /x=copying/);
  await exported(page, 'headmap', /copying/, 'induction');
  await page.click('text=Grid by one score');
  await settled(page, 'headscores');
  await clickCell(page, 'headscores', 4, 17);
  await page.waitForSelector('[data-part=pattern] canvas');
  assert.equal(await title(page), 'Head 17.4');
});

onPage('one head: pairs, eigenvalues, partners, and what its loss costs beside a control', {}, async (page) => {
  await page.goto(look('&head=17.3&open=1&study=pairs', 'one two three four one two three').replace('#/look', '#/heads'));
  await live(page);
  await settled(page, 'pairs');
  await exported(page, 'pairs', /OV/, 'source');
  await page.click('[data-part=pairs] >> text=QK');
  await until(page, 'the other circuit', () => /looks for/.test(document.querySelector('[data-part=pairs] h2')?.innerText ?? ''));
  await page.click('text=Eigenvalues');
  await settled(page, 'spectrum');
  await exported(page, 'spectrum', /Eigenvalues/, 're');
  await page.click('.segments >> text=Composition');
  await settled(page, 'composition');
  await exported(page, 'composition', /composes/, 'baseline');
  await page.click('text=Ablate and see');
  await settled(page, 'cost');
  await settled(page, 'ablated');
  assert.match(await page.locator('[data-part=ablation]').innerText(), /without head 17\.3.*control of the same layer/s);
});

onPage('a concept swapped for another stands beside its control', {}, async (page) => {
  await page.goto(look());
  await live(page);
  await page.waitForSelector('[data-part=lens][data-settled=true] table', { state: 'attached' });
  await page.click('text=Change something');
  await page.selectOption('form select >> nth=0', 'swap');
  await page.fill('form input[type=number]', '12');
  await page.click('text=Apply');
  await page.waitForSelector('[data-part=swapped] svg', SLOW);
  await page.waitForSelector('[data-part=swapcontrol] svg', SLOW);
  assert.match(decodeURIComponent(page.url()), /@12=swap:\+?.Portugal:.France/);
  await page.reload();
  await page.waitForSelector('[data-part=swapped] svg', SLOW);
});

for (const colorScheme of ['light', 'dark']) {
  onPage(
    `at 390 px the circuits' views scroll in one direction only, ${colorScheme}`,
    { viewport: { width: 390, height: 844 }, colorScheme },
    async (page) => {
      for (const [address, part] of [
        [at('patch'), 'patch'],
        [at('circuits', 'part=paths'), 'components'],
        [heads('&heads=map'), 'headmap'],
        [heads('&open=1&study=pairs'), 'pairs'],
        [heads('&open=1&study=ablate'), 'cost'],
      ]) {
        await page.goto(address);
        await live(page);
        await page.waitForSelector(`[data-part=${part}] :is(canvas, .area svg)`, SLOW);
        const size = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
        assert.equal(size[0], size[1], address);
      }
    },
  );
}
