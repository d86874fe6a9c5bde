// The check of the workflows can fail.

import assert from "node:assert/strict";
import { it } from "node:test";

import { faults } from "./check.mjs";

const workflow = (step, runner = "ubuntu-24.04") => `
on: push
jobs:
  one:
    runs-on: ${runner}
    steps:
      - ${step}
`;
const pinned = `actions/checkout@${"0".repeat(40)}`;

it("finds nothing in a good workflow", async () => {
  assert.deepEqual(await faults("x.yml", workflow(`uses: ${pinned} # v1.2.3`)), []);
});

for (const [what, text, part] of [
  ["a tag in place of a commit", workflow("uses: actions/checkout@v4"), "is not pinned"],
  ["a commit without its version", workflow(`uses: ${pinned}`), "is not pinned"],
  ["a stranger's text in a script", workflow("run: echo ${{ github.event.issue.title }}"), "potentially untrusted"],
  ["a machine that does not exist", workflow("run: id", "ubuntu-99"), "is unknown"],
  ["what is no workflow", "jobs: {}", "on"],
]) {
  it(`finds ${what}`, async () => {
    const found = await faults("x.yml", text);
    assert.ok(found.some((fault) => fault.includes(part)), found.join("\n"));
  });
}
