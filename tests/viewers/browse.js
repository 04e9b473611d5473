// Opens one address in headless Chromium, double-clicks each thumbnail that is found, and tells what
// stands on the page after each: node browse.js '{"url": …, "modules": …, "browser": …, …}'
const options = JSON.parse(process.argv[2]);
const { chromium } = require(options.modules + '/playwright-core');

// Fills in a form as a person does, and presses its button.
async function send(page, form) {
  for (const [field, path] of Object.entries(form.files)) await page.setInputFiles(field, path);
  for (const [field, words] of Object.entries(form.words)) await page.fill(field, words);
  for (const label of form.choices) await page.getByLabel(label).check();
  await Promise.all([
    page.waitForResponse(answer => answer.request().method() === 'POST'),
    page.getByRole('button', { name: form.button }).click(),
  ]);
}

(async () => {
  const browser = await chromium.launch({
    executablePath: options.browser, headless: true,
    args: ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader',
           '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist', '--disable-dev-shm-usage'],
  });
  const seen = [];
  try {
    const page = await browser.newPage({ viewport: { width: 1400, height: 850 } });
    page.setDefaultTimeout(options.wait_ms);
    await page.goto(options.url, { waitUntil: 'load' });
    const look = async (name, expected) => {
      // the words are the sign that it has been drawn; without them the picture shows why
      await page.waitForFunction(
        words => words.every(word => document.body.innerText.includes(word)),
        expected || [], { timeout: options.wait_ms }).catch(() => {});
      // an image comes without words: it is drawn when two shots are alike; where the viewer
      // lets a word blink, they never are
      const path = `${options.folder}/${name}.png`;
      for (let round = 0, before = ''; round < options.rounds; round++) {
        await page.waitForTimeout(options.settle_ms);
        const now = (await page.screenshot({ path, fullPage: Boolean(options.form) })).toString('base64');
        if (now === before) break;
        before = now;
      }
      seen.push({ name, path, text: await page.locator('body').innerText() });
    };
    if (options.thumbnails) {
      const thumbnails = page.locator(options.thumbnails);
      await thumbnails.first().waitFor();
      for (let index = 0; index < await thumbnails.count(); index++) {
        const words = await thumbnails.nth(index).innerText();
        const found = options.open.find(one => words.includes(one.thumbnail));
        if (!found) continue;
        await thumbnails.nth(index).dblclick();
        await look(found.name, found.words);
      }
    } else {
      if (options.form) await send(page, options.form);
      await look('page', options.words);
    }
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
})().catch(error => { console.error(String(error)); process.exit(1); });
