"use strict";
const { askForCode, assert, newBrowser, scenario, setUp, shows } = require("./user.cjs");

const half = (code) => [code.slice(0, 3), code.slice(3)];
const wide = (code) => [...code].map((d) => String.fromCodePoint(0xff10 + Number(d))).join("");
const arabic = (code) => [...code].map((d) => String.fromCodePoint(0x0660 + Number(d))).join("");
const FORMS = {
  "in two halves": (code) => half(code).join(" "),
  "with spaces around": (code) => `  ${code} \n`,
  "spaced out": (code) => [...code].join(" "),
  "full-width": (code) => half(wide(code)).join("\u3000"),
  "Arabic digits": arabic,
};

scenario(async () => {
  await setUp(await newBrowser());
  for (const [name, write] of Object.entries(FORMS)) {
    const page = await newBrowser();
    const code = await askForCode(page);
    // Autofill of the browser: the field allows it, and does not cut the text.
    const field = page.locator("input[autocomplete=one-time-code]");
    assert.equal(await field.getAttribute("maxlength"), null);
    assert.equal(await field.getAttribute("inputmode"), "numeric");
    await field.focus();
    await page.evaluate((text) => {
      const data = new DataTransfer();
      data.setData("text/plain", text);
      const at = document.activeElement;
      // A page that blocks pasting would fail here.
      const paste = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
      if (at.dispatchEvent(paste)) document.execCommand("insertText", false, text);
    }, write(code));
    assert.equal((await field.inputValue()).trim(), write(code).trim(), name);
    await page.keyboard.press("Enter");
    await shows(page, "Second step: sms (second)");
  }
});
