// Caches the app's files for offline use, and shows a notification after a push.

// A classic worker, because not every browser supports module workers.
const WORDS = {
  en: ["Do you want to approve this?", "Open the app to answer."],
  de: ["Möchten Sie das bestätigen?", "Öffnen Sie die App, um zu antworten."],
};

const CACHE = "two-step-app-VERSION";
const FILES = ["/app", "/app/app.js", "/app/api.js", "/app/signer.js", "/app/store.js", "/app/texts.js", "/app/app.css", "/app/icon.png", "/assets/two-step.css"];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => names.filter((name) => name.startsWith("two-step-app-") && name !== CACHE));
  event.waitUntil(old.then((names) => Promise.all(names.map((name) => caches.delete(name)))).then(() => self.clients.claim()));
});

/** The last loaded page, with its name, language and colour. */
const isKept = (path) => FILES.includes(path) || path === "/app/icon" || /^\/assets\/accent-[0-9a-f]{6}\.css$/.test(path);

// Network first, so that a new version is used at once. Without a network the cached files are used. The API is never
// cached.
async function answer(request, path) {
  const cache = await caches.open(CACHE);
  try {
    const fresh = await fetch(request);
    if (fresh.ok && !fresh.redirected) await cache.put(path, fresh.clone());
    if (fresh.status < 500) return fresh;
    return (await cache.match(path)) ?? fresh;
  } catch {
    return (await cache.match(path)) ?? Response.error();
  }
}

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin || !isKept(url.pathname)) return;
  event.respondWith(answer(event.request, url.pathname));
});

// A push has no body, so the app fetches its requests.
self.addEventListener("push", (event) => {
  const [title, body] = WORDS[self.navigator.language.slice(0, 2)] ?? WORDS.en;
  const shown = self.registration.showNotification(title, { body, tag: "request", renotify: true, icon: "/app/icon.png" });
  const told = self.clients.matchAll({ type: "window" }).then((all) => all.forEach((client) => client.postMessage("asked")));
  event.waitUntil(Promise.all([shown, told]));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const open = async () => {
    const windows = await self.clients.matchAll({ type: "window" });
    const ours = windows.find((client) => new URL(client.url).pathname === "/app");
    return ours ? ours.focus() : self.clients.openWindow("/app");
  };
  event.waitUntil(open());
});
