"use strict";
const { newBrowser, scenario, setUp, shows, signInByText } = require("./user.cjs");

scenario(async () => {
  await setUp(await newBrowser({ javaScriptEnabled: false }));
  const page = await newBrowser({ javaScriptEnabled: false, viewport: { width: 320, height: 640 } });
  await signInByText(page, { trust: true });
  await shows(page, "Second step: sms (second)");
});
