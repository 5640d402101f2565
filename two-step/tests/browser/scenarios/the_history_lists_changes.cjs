"use strict";
const { URI } = require("otpauth");
const { addPhone, assert, newBrowser, noticeLink, openSettingsByText, scenario, setUp, shot, shows, signInByText, type } =
  require("./user.cjs");

scenario(async () => {
  await setUp(await newBrowser());
  const page = await newBrowser();
  await signInByText(page);
  await openSettingsByText(page);

  // An authenticator is preferred after it was added, and the page shows it.
  await page.click("a[href='/settings/authenticator']");
  await type(page, URI.parse(await page.getAttribute("a[href^='otpauth:']", "href")).generate());
  await shows(page, "From now on we ask for your authenticator app first.");
  await shot(page, "authenticator-added");
  await addPhone(page, "07700 900211", "+447700900211");
  await shows(page, "Confirmed.");

  // The page has the product's colour and the user's name.
  await page.click("a[href='/settings/phone']");
  const colour = await page.locator("button.primary").first().evaluate((button) => getComputedStyle(button).backgroundColor);
  assert.equal(colour, "rgb(122, 31, 162)");
  await shows(page, "Account: ada at the shop");
  await page.goBack();

  // Each line names its method, or the channel of its code.
  await page.click("a[href='/settings/history']");
  const lines = await page.locator("main li").allInnerTexts();
  const has = (...words) => assert.ok(lines.some((line) => words.every((w) => line.includes(w))), `${words}: ${lines}`);
  has("A method was added", "Phone · Number that ends in 11", "By you");
  has("A method was added", "Authenticator app");
  has("A second step was confirmed", "Text message");
  assert.equal(await page.locator("text=Older entries").count(), 0);
  await shot(page, "history-details");

  // The stop page of a notice does the same.
  const stop = await newBrowser();
  await stop.goto(await noticeLink("+447700900200", "was added to your account"));
  assert.match(await stop.textContent("main"), /A method was added\s*(Authenticator app|Phone · Number that ends in 11)/);
  await shot(stop, "stop-added");
});
