// The accounts of this app, in IndexedDB. Keys are stored as objects of the browser, whose private keys cannot be read.

const NAME = "two-step";
const STORE = "accounts";

function open() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(NAME, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "id" });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

async function run(mode, act) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = act(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

export const all = () => run("readonly", (store) => store.getAll());
export const put = (account) => run("readwrite", (store) => store.put(account));
/** Stores an account if it still exists, because another tab may have removed it. */
export const update = (account) =>
  run("readwrite", (store) => {
    const known = store.get(account.id);
    known.onsuccess = () => known.result && store.put(account);
    return known;
  });
export const remove = (id) => run("readwrite", (store) => store.delete(id));
