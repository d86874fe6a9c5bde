// Whose rows are these? People are named as the server names them in subjects: by a hash of their address. Pure.

import { TEXT_MAX } from "./event.js";

/** The first sixteen hex digits of SHA-256 of the trimmed, lower-cased address. */
export async function recipientHash(address, digest) {
  const hash = new Uint8Array(await digest(new TextEncoder().encode(address.trim().toLowerCase())));
  return Array.from(hash.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The rows that belong to a recipient. An address that was cut cannot be compared and counts as theirs. */
export async function rowsOfRecipient(rows, recipient, digest) {
  const addresses = [...new Set(rows.map((row) => row.email).filter(Boolean))];
  const theirs = await Promise.all(
    addresses.map(async (address) => address.length >= TEXT_MAX || (await recipientHash(address, digest)) === recipient),
  );
  const erased = new Set(addresses.filter((_, at) => theirs[at]));
  return new Set(rows.filter((row) => erased.has(row.email)));
}
