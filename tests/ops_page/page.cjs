// Opens the page for operators as they would, and checks what they see. Screenshots are kept in SHOTS.
"use strict";
const assert = require("node:assert/strict");
const { readFileSync } = require("node:fs");
const { chromium } = require("playwright-core");

const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const { PAGE, EMPTY_PAGE, SHOTS } = process.env;

async function check(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const width of [320, 390, 1280]) {
      await page.setViewportSize({ width, height: 850 });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(overflow <= 0, `${name}: scrolls sideways at ${width}`);
      await page.screenshot({ path: `${SHOTS}/${name}-${colorScheme}-${width}.png`, fullPage: true });
    }
    const findings = await page.evaluate(`${axe}; axe.run().then((r) => r.violations.map((v) => v.id + ": " + v.nodes[0].html))`);
    assert.deepEqual(findings, [], `${name} in ${colorScheme}`);
  }
}

async function main() {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  const errors = [];

  // Without a script the page has everything.
  const plain = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
  await plain.goto(PAGE);
  const verdict = await plain.textContent(".verdict");
  assert.match(verdict, /to ID through acme fail since \d\d:\d\d UTC: of the last \d+, 100 % undelivered, usually \d %; others are fine\./);
  assert.equal(await plain.locator("noscript meta[http-equiv=refresh]").count(), 1);

  const page = await (await browser.newContext()).newPage();
  page.on("pageerror", (e) => errors.push(String(e)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(PAGE);
  assert.equal(await page.title(), "Look here · otpost");
  await check(page, "incident");
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 1120, height: 800 });
  await page.screenshot({ path: `${SHOTS}/status.png` });

  // One click leads to the messages that fail.
  await page.click(".verdict a");
  assert.equal(new URL(page.url()).search, "?carrier=acme&country=ID");
  assert.equal(await page.locator(".chip").count(), 2);
  await page.click("#chip-country");
  assert.equal(new URL(page.url()).search, "?carrier=acme");
  await check(page, "carrier");

  // A message that did not arrive has a page with its timeline.
  await page.click("#table-failed a");
  assert.match(await page.textContent("main"), /\+44•+00 \(GB\), undelivered[^]*receipt: undelivered/);
  await check(page, "dispatch");
  await page.click(".chip");
  assert.equal(new URL(page.url()).search, "?carrier=acme");

  // The page updates itself, and the focus stays.
  await page.focus("#country-DE");
  const time = await page.textContent(".time");
  await page.waitForFunction((before) => document.querySelector(".time").textContent !== before, time, { timeout: 15000 });
  assert.equal(await page.evaluate(() => document.activeElement.id), "country-DE");
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.search === "?carrier=acme&country=DE");

  await page.goto(EMPTY_PAGE);
  assert.match(await page.textContent(".verdict"), /^Nothing was sent during the last 15 minutes\.$/);
  await check(page, "empty");
  assert.deepEqual(errors, []);
  await browser.close();
}

main().catch((e) => { console.error(e); process.exit(1); });
