"use strict";
const { assert, codeAfter, newBrowser, newest, scenario, setUp, shot, shows, stack } = require("./user.cjs");

/** The focused element: its text, its position, and whether the focus is visible. */
const focused = (page) =>
  page.evaluate(() => {
    const at = document.activeElement;
    const style = getComputedStyle(at);
    const box = at.getBoundingClientRect();
    const [left, top, bottom] = [box.left, box.top + window.scrollY, box.bottom + window.scrollY];
    const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    const words = (at.getAttribute("aria-label") ?? at.innerText ?? "").trim() || at.name;
    return { words, name: at.name ?? "", tag: at.tagName, left, top, bottom, visible: outlined || style.boxShadow !== "none" };
  });

/** Presses Tab until an element has the focus. Returns all elements that had it before. */
async function tabTo(page, wanted) {
  const path = [];
  await page.waitForLoadState();
  for (let n = 0; n < 20; n += 1) {
    await page.keyboard.press("Tab");
    const at = await focused(page);
    path.push(at);
    assert.ok(at.visible, `the focus on "${at.words}" is visible`);
    if (wanted(at)) return path;
  }
  throw new Error(`not reached: ${path.map((at) => at.words).join(" > ")}`);
}

/** Checks that the focus moves down the page, and from left to right within a line. */
function goesDown(path) {
  for (const [before, after] of path.slice(1).map((at, n) => [path[n], at])) {
    const isBelow = after.top >= before.bottom - 1 || (after.top > before.top - 8 && after.left > before.left);
    assert.ok(isBelow, `"${after.words}" comes after "${before.words}"`);
  }
}

scenario(async () => {
  const number = "+447700900200";
  await setUp(await newBrowser());
  const page = await newBrowser({ viewport: { width: 1280, height: 800 } });
  const keys = page.keyboard;
  await page.goto(`${stack.demo}shop`);
  await page.keyboard.press("Tab");
  assert.equal((await focused(page)).name, "user");
  await keys.press("Tab");
  const texts = await newest(number, "sms");
  await keys.press("Enter");
  await page.waitForURL("**/challenge/*");
  const code = await codeAfter(number, "sms", texts);

  // The cursor is in the field, also after a wrong code.
  assert.equal((await focused(page)).name, "code");
  await keys.type("12345");
  await keys.press("Enter");
  await shows(page, "Type the six digits.");
  assert.equal((await focused(page)).name, "code");
  await shot(page, "keyboard-field");

  // The order after the field: the checkbox, the button, the other methods, "Cancel".
  const down = await tabTo(page, (at) => at.words === "Cancel sign-in");
  goesDown(down);
  const order = down.map((at) => at.words);
  assert.ok(order.indexOf("trust") < order.indexOf("Verify") && order.indexOf("Verify") < order.indexOf("Use another way"), order.join());

  // Another method and back, with Enter.
  await keys.press("Shift+Tab");
  assert.equal((await focused(page)).words, "Use another way");
  await keys.press("Enter");
  await page.waitForURL("**/ways");
  goesDown(await tabTo(page, (at) => at.words === "Back to the code"));
  await shot(page, "keyboard-back");
  await keys.press("Enter");
  await page.waitForURL((url) => !url.pathname.endsWith("/ways"));

  // The code, then the checkbox and the button with Space.
  assert.equal((await focused(page)).name, "code");
  await keys.type(code);
  await tabTo(page, (at) => at.name === "trust");
  await keys.press("Space");
  assert.ok(await page.isChecked("input[name=trust]"));
  await tabTo(page, (at) => at.words === "Verify");
  await keys.press("Space");
  await shows(page, "Second step: sms (second)");
  await page.click("text=Close the browser and come back");
  await shows(page, "Sign in to see your orders");
  await tabTo(page, (at) => at.name === "user");
  await keys.press("Enter");
  await shows(page, "Second step: trust (trusted)");
});
