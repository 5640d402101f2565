"use strict";
const { assert, newBrowser, scenario, setUp, shot, shows, signInByText } = require("./user.cjs");

scenario(async () => {
  const first = await newBrowser();
  const codes = await setUp(first);
  assert.equal(codes.length, 10);
  const second = await newBrowser();
  await signInByText(second);
  await shows(second, "Second step: sms (second)");
  await shot(second, "signed-in");
});
