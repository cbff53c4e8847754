// The page: files in, results out. Every text is set by textContent, after `visible` in the worker; nothing is fetched.

const $ = (id) => document.getElementById(id);
const worker = new Worker(URL.createObjectURL(new Blob([`"use strict";(${verifier})(self)`], { type: "text/javascript" })));
const waiting = new Map();
let asked = 0;

worker.onmessage = ({ data: { id, progress, part, result } }) => {
  const one = waiting.get(id);
  if (progress) one.progress(...progress);
  else if (part) one.part(part);
  else {
    waiting.delete(id);
    one.done(result);
  }
};

function ask(files, progress = () => {}, part = () => {}) {
  return new Promise((done) => {
    asked += 1;
    waiting.set(asked, { progress, part, done });
    worker.postMessage({ id: asked, files });
  });
}

// For tests: files [{name, blob}] in, findings out.
window.financeVerify = (files) => ask(files);

function made(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

function tableOf(columns, rows, caption) {
  const box = made("div", "", "scroll");
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", caption);
  const table = box.appendChild(made("table"));
  table.appendChild(made("caption", caption));
  const head = table.appendChild(made("thead")).appendChild(made("tr"));
  for (const column of columns) head.appendChild(made("th", column)).scope = "col";
  const body = table.appendChild(made("tbody"));
  for (const row of rows) {
    const line = body.appendChild(made("tr"));
    for (const cell of row) line.appendChild(made("td", cell === null || cell === undefined ? "" : String(cell)));
  }
  return box;
}

const plural = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

function card({ name, kind, sound, findings, beyond, counts, notes, facts, rows }) {
  const box = made("article", "", sound ? "card good" : "card bad");
  const title = box.appendChild(made("h3"));
  title.appendChild(made("span", sound ? "\u2713 holds" : "\u2717 does not hold", "mark"));
  title.appendChild(made("span", name, "name"));
  const counted = Object.entries(counts).map(([what, n]) => `${n.toLocaleString("en")} ${what}`).join(", ");
  box.appendChild(made("p", `${kind}${counted ? `. Checked: ${counted}` : ""}.`, "kind"));
  if (!sound) {
    const all = findings.length + beyond;
    const shown = findings.slice(0, 100);
    const cells = shown.map((each) => [each.object, each.line, each.seq, each.field, each.message, each.code]);
    const words = `${plural(all, "finding", "findings")}${all > shown.length ? `, the first ${shown.length} shown` : ""}`;
    box.appendChild(tableOf(["in", "line", "seq", "field", "what is wrong", "code"], cells, words));
  }
  if (facts.length > 0) {
    const list = box.appendChild(made("dl"));
    for (const [what, value] of facts) {
      list.appendChild(made("dt", what));
      list.appendChild(made("dd", value));
    }
  }
  for (const note of notes) box.appendChild(made("p", note, "note"));
  if (rows !== null && rows.rows.length > 0) {
    const more = box.appendChild(made("details"));
    more.appendChild(made("summary", `Entries: ${rows.rows.length.toLocaleString("en")} of ${rows.of.toLocaleString("en")}`));
    more.appendChild(tableOf(rows.columns, rows.rows, "Entries, as they stand in the batch"));
  }
  return box;
}

function verdict(result) {
  const box = $("verdict");
  box.className = result.sound ? "verdict good" : "verdict bad";
  const wrong = result.results.filter((each) => !each.sound).length;
  const words = result.problem ? `\u2717 Nothing is shown to hold: ${result.problem.message}.`
    : result.sound ? "\u2713 Everything that was checked holds."
      : `\u2717 ${plural(wrong, "file does", "files do")} not hold.`;
  box.textContent = words;
  box.hidden = false;
  $("print").hidden = false;
  document.title = `${result.sound ? "Holds" : "Does not hold"} \u2013 Finance verifier`;
  box.focus();
}

let chosen = [];

async function run(files) {
  chosen = [...chosen, ...files].slice(-1000);
  const ours = chosen;
  $("results").replaceChildren();
  $("verdict").hidden = true;
  $("bar").hidden = false;
  $("status").textContent = "Checking\u2026";
  const started = performance.now();
  const result = await ask(ours.map((file) => ({ name: file.name, blob: file })), (name, taken, of) => {
    $("bar").value = of ? taken / of : 0;
    $("status").textContent = `Checking ${name}: ${Math.floor((100 * taken) / (of || 1))} %`;
  }, (part) => ours === chosen && $("results").appendChild(card(part)));
  if (ours !== chosen) return;
  $("bar").hidden = true;
  $("status").textContent = `Checked ${plural(ours.length, "file", "files")} in ${((performance.now() - started) / 1000).toFixed(1)} s, on this device alone.`;
  verdict(result);
}

$("choose").addEventListener("change", (event) => run([...event.target.files]));
$("print").addEventListener("click", () => window.print());
$("again").addEventListener("click", () => {
  chosen = [];
  for (const id of ["results"]) $(id).replaceChildren();
  for (const id of ["verdict", "print", "bar"]) $(id).hidden = true;
  $("status").textContent = "";
  $("choose").value = "";
  $("choose").focus();
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  run([...event.dataTransfer.files]);
});
