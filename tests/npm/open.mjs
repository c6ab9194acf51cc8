// Opens a document with stock Automerge of npm, and prints what it finds as one JSON document:
//   node open.mjs FOLDER_WITH_NODE_MODULES FILE
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const [folder, file] = process.argv.slice(2);
const Automerge = createRequire(join(resolve(folder), "x.js"))("@automerge/automerge");
const plain = (value) => (value !== null && typeof value === "object" ? String(value) : value);

const document = Automerge.load(new Uint8Array(readFileSync(file)));
const values = {};
const conflicts = {};
for (const bucket of Object.values(document.desired)) {
    for (const key of Object.keys(bucket)) {
        values[key] = plain(bucket[key]);
        const all = Automerge.getConflicts(bucket, key);
        if (all && Object.keys(all).length > 1) conflicts[key] = Object.values(all).map(plain).sort();
    }
}
const changes = Automerge.getHistory(document).map(({ change }) => ({
    id: change.hash,
    actor: change.actor,
    message: change.message ?? "",
}));
console.log(JSON.stringify({ shards: Object.keys(document).sort(), values, conflicts, changes }));
