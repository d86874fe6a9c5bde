// Mandrill's signature over what is posted to the webhook, computed in the browser.

const field = "mandrill_events";

/** Base64 of HMAC-SHA1 over the address and each form field's name and value, sorted by name. */
export async function signature(url, key, fields) {
  const bytes = (text) => new TextEncoder().encode(text);
  const sorted = [...fields].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const text = url + sorted.map(([name, value]) => name + value).join("");
  const algorithm = { name: "HMAC", hash: "SHA-1" };
  const imported = await crypto.subtle.importKey("raw", bytes(key), algorithm, false, ["sign"]);
  const signed = await crypto.subtle.sign("HMAC", imported, bytes(text));
  return btoa(String.fromCharCode(...new Uint8Array(signed)));
}

/** The form fields a body is signed as. A JSON body counts as the array's text, as it stands in it. */
export function signedFields(contentType, body) {
  if (/^application\/json\b/i.test(contentType)) {
    const only = new RegExp(`^\\s*\\{\\s*"${field}"\\s*:\\s*(\\[[^]*\\])\\s*\\}\\s*$`).exec(body);
    if (!only) throw new Error(`to be signed here, a JSON body has to be an object with "${field}" and nothing else`);
    return [[field, only[1]]];
  }
  return [...new URLSearchParams(body)];
}

/** Why a browser cannot sign, if it cannot. */
export function hindrance() {
  return globalThis.crypto?.subtle
    ? undefined
    : "This browser signs only on pages that came over HTTPS or from this machine (localhost): it offers no " +
        "cryptography to others. Open this page that way, or compute X-Mandrill-Signature elsewhere.";
}
