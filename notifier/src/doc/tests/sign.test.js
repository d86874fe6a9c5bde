import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";

import { signature, signedFields } from "../sign.js";

const requests = JSON.parse(readFileSync(new URL("../../../../shared/fixtures/signed-requests.json", import.meta.url), "utf8"));
const form = "application/x-www-form-urlencoded";

describe("a batch's signature", () => {
  it("is Mandrill's, for every request that has to be accepted", async () => {
    const accepted = requests.filter((request) => request.expect === "accept");
    assert.ok(accepted.length > 10);
    for (const { name, url, key, extra_keys, body, signature: expected } of accepted) {
      const fields = signedFields(form, body);
      const made = await Promise.all([key, ...extra_keys, "test-webhook"].map((key) => signature(url, key, fields)));
      assert.ok(made.includes(expected), name);
    }
  });

  it("is made over a JSON body's array as it stands there", () => {
    const array = '[ {"event":"open", "ts":1.50}, {"url":"a\\/b"} ]';
    assert.deepEqual(signedFields("application/json; charset=utf-8", `{"mandrill_events": ${array} }`), [["mandrill_events", array]]);
    assert.deepEqual(signedFields("application/json", '{\n  "mandrill_events": []\n}'), [["mandrill_events", "[]"]]);
  });

  it("is not made where it would not be clear what is signed", () => {
    for (const body of ["", "[]", '{"mandrill_events":{}}', '{"other":1,"mandrill_events":[]}']) {
      assert.throws(() => signedFields("application/json", body), /and nothing else/, body);
    }
  });
});
