// The app: accounts and approval requests.

import { Refused, call, serverNow } from "./api.js";
import { newKey } from "./signer.js";
import * as store from "./store.js";
import { texts } from "./texts.js";

const lang = document.documentElement.lang;
const t = texts(lang);
const main = document.querySelector("main");
const offline = document.querySelector(".offline");
offline.textContent = t.offline;

/** Creates an element. Texts become text nodes, and are never parsed as HTML. */
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== undefined && child !== false));
  return made;
}

/** The user's region of the page's language, for dates and times. */
const region = navigator.languages.find((tag) => tag.startsWith(`${lang}-`)) ?? (lang === "en" ? "en-GB" : lang);

const heading = (words) => el("h1", { tabindex: "-1" }, words);
const button = (words, kind, act) => el("button", { type: "button", class: kind, onclick: act }, words);
const spaced = (digits) => (digits.length > 4 ? `${digits.slice(0, digits.length / 2)} ${digits.slice(digits.length / 2)}` : digits);

/** The icons. */
const PATHS = {
  good: "M3.5 12a8.5 8.5 0 1 0 17 0a8.5 8.5 0 1 0-17 0M8.3 12.4l2.6 2.6 4.9-5.3",
  warning: "M12 4.2l8.8 15.3H3.2zM12 10v4.2M12 16.9v.1",
  next: "M9.5 6l6 6-6 6",
};

function icon(name) {
  const make = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const svg = make("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" });
  svg.append(make("path", { d: PATHS[name] }));
  return svg;
}

const mark = (tone) => el("div", { class: "mark", "data-tone": tone }, icon(tone));

/** The shown view, so that new data changes only the view that it concerns. */
let shown = "";

const controls = () => [...main.querySelectorAll("button, input")];

function show(view, ...children) {
  const isNew = shown !== view;
  const focused = controls().indexOf(document.activeElement);
  shown = view;
  main.replaceChildren(...children.filter((child) => child !== undefined));
  document.title = main.querySelector("h1")?.textContent ?? document.title;
  if (!isNew) {
    // The same view with new data: the keyboard focus is kept.
    if (focused >= 0) controls()[focused]?.focus();
    return;
  }
  const first = main.querySelector("input[autofocus]") ?? main.querySelector("h1");
  first?.focus();
  window.scrollTo(0, 0);
}

/** An error message, which screen readers read at once. */
const problem = (words) => el("p", { class: "error", role: "alert" }, words);

const words = (e) => {
  if (!(e instanceof Refused)) return t.failed;
  return { offline: t.offline, "set-up-code": t.bad_code, limited: t.too_many, locked: t.locked, ended: t.over }[e.kind] ?? t.failed;
};

/* Accounts */

let accounts = [];

function home() {
  if (accounts.length === 0) {
    const hint = matchMedia("(display-mode: standalone)").matches ? undefined : el("p", { class: "soft" }, t.install);
    show("home", heading(t.welcome), el("p", { class: "lead" }, t.welcome_lead), hint, button(t.add, "primary", add));
    return;
  }
  const row = (account) =>
    el("li", {},
      el("button", { type: "button", class: "row", onclick: () => details(account) },
        el("span", { class: "row-words" },
          el("span", { class: "row-title" }, account.product),
          account.user ? el("span", { class: "row-detail" }, account.user) : undefined,
          el("span", { class: "row-detail" }, t[account.state] ?? t.ready)),
        icon("next")));
  const asked = accounts.filter((account) => account.request);
  const open = (account) => button(title(account, account.request), "primary", () => ask(account, account.request));
  show("home", heading(t.accounts), ...asked.map(open), el("ul", { class: "list" }, accounts.map(row)), notifications(), button(t.add, "secondary", add));
}

const maySubscribe = () => "PushManager" in window && "Notification" in window && Notification.permission === "granted";

/** The button that turns notifications on, if the browser and the server support pushes. */
function notifications() {
  const can = "PushManager" in window && "Notification" in window && accounts.some((account) => account.push_key);
  if (!can || Notification.permission === "denied") return undefined;
  if (Notification.permission === "granted" && accounts.every((account) => account.push)) return el("p", { class: "soft" }, t.notified);
  return button(t.notify, "secondary", async () => {
    if ((await Notification.requestPermission()) === "granted") await subscribe();
    home();
  });
}

async function subscribe() {
  const worker = await navigator.serviceWorker.ready;
  for (const account of accounts.filter((a) => a.state === "active" && a.push_key)) {
    try {
      const subscription = await subscribed(worker, account.push_key);
      await call(account.key, "PUT", "/app/v1/push", { endpoint: subscription.endpoint });
      account.push = true;
    } catch {
      // Without pushes the app polls while it is open.
    }
  }
}

async function subscribed(worker, applicationServerKey) {
  const options = { userVisibleOnly: true, applicationServerKey };
  try {
    return await worker.pushManager.subscribe(options);
  } catch (e) {
    // The server's key has changed, so a new subscription replaces the old one.
    const old = e.name === "InvalidStateError" && (await worker.pushManager.getSubscription());
    if (!old) throw e;
    await old.unsubscribe();
    return worker.pushManager.subscribe(options);
  }
}

/** Removes notifications of ended requests. */
async function clearNotifications() {
  const worker = await navigator.serviceWorker?.getRegistration("/app");
  for (const notification of (await worker?.getNotifications({ tag: "request" })) ?? []) notification.close();
}

function details(account) {
  if (account.state === "pending" && account.digits) return digits(account, account.digits);
  show(`account ${account.id}`,
    heading(account.product),
    account.user ? el("p", { class: "lead" }, account.user) : undefined,
    el("p", {}, t[account.state] ?? t.ready),
    el("div", { class: "choices" }, button(t.remove, "secondary danger", () => askRemove(account)), button(t.back, "quiet", home)));
}

function askRemove(account) {
  const remove = async () => {
    try {
      if (account.state !== "gone") await call(account.key, "DELETE", "/app/v1/account");
    } catch (e) {
      if (!(e instanceof Refused) || e.kind !== "unknown-key") {
        main.append(problem(words(e)));
        return;
      }
    }
    account.stop?.abort();
    await store.remove(account.id);
    accounts = accounts.filter((a) => a !== account);
    home();
  };
  show("remove", heading(t.remove_title(account.product)), el("p", {}, t.remove_lead),
    el("div", { class: "choices" }, button(t.remove_do, "primary danger", remove), button(t.cancel, "quiet", () => details(account))));
}

/* Set-up */

function add() {
  const field = el("input", { class: "code long", id: "code", name: "code", autocomplete: "off", autocapitalize: "characters", spellcheck: "false", autofocus: true, "aria-describedby": "code-hint" });
  const place = el("div", { class: "field" }, el("label", { for: "code" }, t.code), el("p", { class: "hint", id: "code-hint" }, t.code_hint), field);
  let key;
  const submit = async (event) => {
    event.preventDefault();
    const go = form.querySelector("button");
    go.disabled = true;
    place.querySelector(".error")?.remove();
    try {
      // Each try uses the same key, so the server repeats a lost answer.
      key ??= await newKey();
      const answer = await call(key, "POST", "/app/v1/register", { code: field.value, public_key: key.public, name: device() });
      // Stored until the user has typed the digits, because the user may have to switch to the browser.
      const account = { id: answer.account, key, product: answer.product.name, user: answer.user, state: "pending", digits: answer.digits };
      await store.put(account);
      accounts.push(account);
      digits(account, answer.digits);
      listen(account);
    } catch (e) {
      place.append(problem(words(e)));
      field.focus();
    } finally {
      go.disabled = false;
    }
  };
  const form = el("form", { class: "main-form", onsubmit: submit }, place, el("button", { class: "primary" }, t.next));
  show("add", heading(t.add), el("p", { class: "lead" }, t.add_lead), form, button(t.cancel, "quiet", home));
}

/** The name of this phone in the settings. */
function device() {
  const agent = navigator.userAgent;
  const named = [[/iPhone/, "iPhone"], [/iPad/, "iPad"], [/Android/, "Android"], [/Windows/, "Windows"], [/Mac OS X/, "Mac"], [/Linux/, "Linux"]];
  return named.find(([mark]) => mark.test(agent))?.[1] ?? "";
}

function digits(account, code) {
  show(`digits ${account.id}`, heading(t.digits_title), el("p", { class: "number" }, spaced(code)), el("p", {}, t.digits_lead(account.product)), button(t.cancel, "quiet", home));
}

/* Requests */

/** The request that is being answered. Its view stays until the server has answered. */
let answering = "";

/** The purpose of a request: a sign-in, a proof for the product, or for the settings. */
const title = (account, request) => (t[`ask_${request.purpose}`] ?? t.ask_sign_in)(account.product);

function ask(account, request) {
  const view = `ask ${request.id}`;
  if (shown === view) return;
  account.request = request;
  const field = el("input", { class: "code", id: "number", name: "number", inputmode: "numeric", autocomplete: "off", autofocus: true });
  const place = el("div", { class: "field" }, el("label", { for: "number" }, t.number), field);
  const fact = (name, value) => (value ? [el("dt", {}, name), el("dd", {}, value)] : []);
  const time = new Date(request.created_at).toLocaleTimeString(region, { hour: "2-digit", minute: "2-digit" });
  const path = `/app/v1/requests/${request.id}`;
  const fail = (said) => {
    place.querySelector(".error")?.remove();
    place.append(problem(said));
    field.select();
  };
  const approve = async (event) => {
    event.preventDefault();
    // A second press during the first call would use up an entry.
    if (answering) return;
    answering = request.id;
    try {
      const answer = await call(account.key, "POST", `${path}/approve`, { digits: field.value });
      if (answer.status === "wrong") return fail(t.wrong(answer.left));
      account.request = undefined;
      clearNotifications();
      show("answered", mark("good"), heading(t.approved), el("p", { class: "lead" }, t.approved_lead), button(t.done, "primary", home));
    } catch (e) {
      if (e.kind === "invalid") return fail(t.unreadable(request.digits));
      if (e.kind === "ended") return over(e.problem.state);
      fail(words(e));
    } finally {
      answering = "";
    }
  };
  const deny = async () => {
    if (answering) return;
    answering = request.id;
    try {
      const answer = await call(account.key, "POST", `${path}/deny`);
      account.request = undefined;
      clearNotifications();
      show("answered", mark("warning"), heading(t.denied), el("p", { class: "lead" }, t.denied_lead(account.product)),
        answer.paused_until ? el("p", {}, t.denied_paused) : undefined, button(t.done, "primary", home));
    } catch (e) {
      if (e.kind === "ended") return over(e.problem.state);
      fail(words(e));
    } finally {
      answering = "";
    }
  };
  const code = async () => {
    try {
      const answer = await call(account.key, "POST", `${path}/code`);
      const minutes = Math.max(1, Math.ceil((new Date(answer.expires_at) - serverNow()) / 60000));
      show(`code ${request.id}`, heading(t.code_title), el("p", { class: "number" }, spaced(answer.code)), el("p", {}, t.code_lead(minutes)),
        el("div", { class: "choices" }, button(t.done, "primary", home), button(t.deny, "secondary danger", deny)));
    } catch (e) {
      if (e.kind === "ended") return over(e.problem.state);
      fail(words(e));
    }
  };
  const form = el("form", { class: "main-form", onsubmit: approve }, place,
    el("div", { class: "choices pair" }, el("button", { class: "primary" }, t.approve), button(t.deny, "secondary danger", deny)));
  show(view, heading(title(account, request)), el("p", { class: "lead" }, t.ask_lead),
    el("dl", { class: "facts" }, fact(t.account, account.user), fact(t.browser, request.agent), fact(t.place, request.place), fact(t.time, time)),
    request.other_network ? el("p", { class: "notice", "data-tone": "warning" }, t.other_network) : undefined,
    form, button(t.show_code, "quiet", code));
}


/** The request has ended. */
function over(state) {
  const why = { locked: t.over_locked, expired: t.over_expired, replaced: t.over_replaced }[state];
  show("answered", heading(t.over), why ? el("p", { class: "lead" }, why) : undefined, button(t.done, "primary", home));
}

/* The server */

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** Ends the waits of all accounts when the app returns to the foreground or is woken. */
const waiting = new Set();
const wake = () => {
  for (const resolve of waiting) resolve();
  waiting.clear();
};
const woken = () => new Promise((resolve) => waiting.add(resolve));

/** Stores an account without the state of this run. */
const keep = ({ stop, request, ...kept }) => store.update(kept);

async function refresh(account) {
  const seen = await call(account.key, "GET", "/app/v1/account");
  const before = account.state;
  Object.assign(account, { state: seen.state, product: seen.product.name, user: seen.user, push: seen.push, push_key: seen.push_key });
  if (account.state !== "pending") delete account.digits;
  await keep(account);
  if (before === account.state) return;
  if (account.state === "active" && maySubscribe()) subscribe();
  if (shown === "home" || shown === `digits ${account.id}`) home();
}

/** Polls for an account's requests while the app is open. */
async function listen(account) {
  account.stop = new AbortController();
  const { signal } = account.stop;
  let seen = "";
  // The first poll, and the first one after an outage, does not wait, because it shows that the server is reachable.
  let wait = 0;
  while (!signal.aborted) {
    try {
      if (document.hidden) await woken();
      if (account.state !== "active") {
        await refresh(account);
        if (account.state !== "active") {
          await Promise.race([pause(account.state === "pending" ? 2000 : 30_000), woken()]);
          continue;
        }
      }
      const query = seen ? `?wait=${wait}&seen=${seen}` : `?wait=${wait}`;
      const answer = await call(account.key, "GET", `/app/v1/requests${query}`, undefined, signal);
      offline.hidden = true;
      wait = 25;
      const [request] = answer.requests;
      const isNew = (request?.id ?? "") !== seen;
      if (seen && isNew && !request) clearNotifications();
      account.request = request;
      // A view with a partly filled field stays. The start page has a button for the request.
      const mayInterrupt = shown === "home" || shown === "answered" || shown === `account ${account.id}`;
      if (request && isNew && mayInterrupt) ask(account, request);
      else if (isNew && shown === "home") home();
      else if (!request && seen && answering !== seen && (shown === `ask ${seen}` || shown === `code ${seen}`)) home();
      seen = request?.id ?? "";
      if (!request) await refresh(account);
    } catch (e) {
      if (signal.aborted) return;
      if (e.kind === "unknown-key") {
        account.state = "gone";
        account.request = undefined;
        await keep(account);
        if (shown === "home" || shown === `digits ${account.id}`) home();
        return;
      }
      offline.hidden = e.kind !== "offline";
      wait = 0;
      await Promise.race([pause(3000), woken()]);
    }
  }
}

document.addEventListener("visibilitychange", () => document.hidden || wake());
window.addEventListener("online", () => wake());
window.addEventListener("offline", () => (offline.hidden = false));
navigator.serviceWorker?.addEventListener("message", () => wake());
navigator.serviceWorker?.register("/app/sw.js", { scope: "/app" }).catch(() => {});
navigator.storage?.persist?.();

accounts = await store.all();
offline.hidden = navigator.onLine;
home();
// The subscription may have been renewed in the meantime.
if (maySubscribe()) subscribe();
for (const account of accounts) if (account.state !== "gone") listen(account);
