"use strict";
const { assert, letters, mailedCode, newBrowser, openSettings, saveRecoveryCodes, scenario, shot, shows, signIn, type } = require("./user.cjs");

// The configuration allows e-mail as a second step.
scenario(async () => {
  const address = "ada@home.example";
  const page = await newBrowser();
  await signIn(page);
  await openSettings(page);
  await page.goto(new URL("/settings/email", page.url()).href);

  // If the mail server refuses the address, the page shows it, and another address can be typed.
  await page.fill("input[name=address]", "nobody@home.example");
  await page.click("main form button.primary");
  await shows(page, "The e-mail could not be delivered.");
  await shot(page, "email-refused");
  await page.click("button[name=change]");
  await page.fill("input[name=address]", address);
  await page.click("main form button.primary");
  await type(page, await mailedCode(address, 0));
  await saveRecoveryCodes(page);
  await page.click("form[action='/settings/on'] button");

  const again = await newBrowser();
  const before = (await letters(address)).length;
  await signIn(again);
  await shows(again, "We sent a code to a•••@home.example.");
  await shot(again, "email-code");
  await again.check("input[name=trust]");
  await type(again, await mailedCode(address, before));
  await shows(again, "Second step: email (second)");
  await again.click("text=Close the browser and come back");
  await signIn(again);
  await shows(again, "Second step: trust (trusted)");
});
