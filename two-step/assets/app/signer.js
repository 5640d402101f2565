// Signs requests with the app's key: HTTP Message Signatures (RFC 9421) over P-256, with the profile of the server's
// contract.

const COMPONENTS = '("@method" "@authority" "@path" "@query" "content-digest")';
const text = new TextEncoder();

const base64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
const base64url = (bytes) => base64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const sha256 = (data) => crypto.subtle.digest("SHA-256", data);

/** Creates a key. The private key cannot be exported. */
export async function newKey() {
  const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
  const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", pair.publicKey);
  // RFC 7638: the required members in the order of their names.
  const id = base64url(await sha256(text.encode(JSON.stringify({ crv, kty, x, y }))));
  return { id, private: pair.privateKey, public: { kty, crv, x, y } };
}

/** The headers that sign a request. `now` is the server's time in seconds. */
export async function sign(key, { method, url, body, now }) {
  const { host, pathname, search } = new URL(url, location.href);
  const digest = `sha-256=:${base64(await sha256(text.encode(body ?? "")))}:`;
  const nonce = base64url(crypto.getRandomValues(new Uint8Array(18)));
  const parameters = `${COMPONENTS};created=${now};nonce="${nonce}";keyid="${key.id}"`;
  const base = [
    `"@method": ${method}`,
    `"@authority": ${host}`,
    `"@path": ${pathname}`,
    `"@query": ${search || "?"}`,
    `"content-digest": ${digest}`,
    `"@signature-params": ${parameters}`,
  ].join("\n");
  const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, key.private, text.encode(base));
  return {
    "content-digest": digest,
    "signature-input": `app=${parameters}`,
    signature: `app=:${base64(signature)}:`,
  };
}
