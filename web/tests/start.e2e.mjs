import { assert, experiment, live, onPage, until, URL_BASE } from './browser.mjs';

const slot = (page) => page.locator('.slot').innerText();

onPage('the start page shows the answer rising before any click', {}, async (page) => {
  await page.goto(`${URL_BASE}/`);
  await page.waitForSelector('[data-part=rise] svg');
  assert.equal((await slot(page)).trim(), experiment.answer.trim());
  const table = page.locator('[data-part=rise] table');
  await table.waitFor({ state: 'attached' });
  const ranks = await table.locator('tbody tr td:nth-child(4)').allInnerTexts();
  assert.ok(Number(ranks.at(-1)) === 1 && Number(ranks[5]) > 1, `ranks ${ranks.join(' ')}`);
});

onPage('one button flips the answer, the control beside it does not', {}, async (page) => {
  await page.goto(`${URL_BASE}/`);
  await live(page);
  await page.click(`text=${experiment.texts.button}`);
  await page.waitForSelector('[data-part=control] svg');
  assert.equal((await slot(page)).trim(), experiment.flippedAnswer.trim());
  const said = await page.locator('.lead dl dd b').allInnerTexts();
  assert.deepEqual(
    said.map((s) => s.replace('·', ' ')),
    [experiment.answer, experiment.flippedAnswer, experiment.answer],
  );
  assert.match(page.url(), /changed=1/);
  await page.goBack();
  assert.equal((await slot(page)).trim(), experiment.answer.trim());
});

onPage('without a model the start page shows recorded traces and says so', {}, async (page) => {
  await page.route('**/api/**', (route) => route.abort());
  await page.route('**/healthz', (route) => route.abort());
  await page.goto(`${URL_BASE}/`);
  await page.waitForSelector('[data-part=rise] svg');
  assert.ok(await page.locator('text=recorded').first().isVisible());
  await page.click(`text=${experiment.texts.button}`);
  assert.equal((await slot(page)).trim(), experiment.flippedAnswer.trim());
  await page.click('nav >> text=Look');
  await page.waitForSelector('[data-part=lens] canvas');
  await page.click('nav >> text=Heads');
  await page.waitForSelector('[data-part=heads] canvas');
});

onPage('cards mark what they speak of and stay away once put away', {}, async (page) => {
  await page.goto(`${URL_BASE}/`);
  await page.waitForSelector('[data-part=rise] svg');
  const card = page.locator('section.card');
  await card.hover();
  await until(page, 'the picture to be marked', () => document.querySelector('[data-part=rise]').classList.contains('spoken'));
  await card.locator('text=Put away').click();
  await page.reload();
  await page.waitForSelector('[data-part=rise] svg');
  assert.equal(await card.count(), 0);
});

onPage('the page paints before anything answers', {}, async (page) => {
  let release;
  const held = new Promise((done) => (release = done));
  await page.route('**/api/**', async (route) => {
    await held;
    await route.continue();
  });
  await page.goto(`${URL_BASE}/`);
  await page.waitForSelector('[data-part=rise] svg');
  release();
});
