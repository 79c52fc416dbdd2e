// The page: takes files, asks the server for their flow, shows and saves what comes back.

import {View} from "./view.js";

const at = (name) => document.getElementById(name);
const view = new View(at("view"), at("vector"));
let files = [null, null];
let largest = Infinity;
let answer = null;

function say(text, wrong = false) {
  at("message").textContent = text;
  at("message").classList.toggle("error", wrong);
}

async function offer() {
  const options = await (await fetch("options")).json();
  options.networks.forEach((title, index) => at("network").add(new Option(title, index)));
  options.precisions.forEach((name) => at("precision").add(new Option(name, name)));
  largest = options.largest;
}

function isClip(file) {
  return file !== null && (file.type.startsWith("video/") || /\.(mp4|mov|mkv|avi|webm|m4v)$/i.test(file.name));
}

function take(index, file) {
  files[index] = file;
  const clip = isClip(files[0]);
  at("second").disabled = clip;
  at("pair-label").hidden = !clip;
  at("compute").disabled = !(files[0] && (clip || files[1]));
  if (!at("compute").disabled) say("");
}

async function compute(event) {
  event.preventDefault();
  const sent = isClip(files[0]) ? [files[0]] : files;
  const bytes = sent.reduce((sum, file) => sum + file.size, 0);
  if (bytes > largest) {
    say(`${Math.round(bytes / 1e6)} MB are too many: at most ${Math.round(largest / 1e6)} MB are taken`, true);
    return;
  }
  at("compute").disabled = true;
  say("Computing ...");
  try {
    const query = new URLSearchParams({
      network: at("network").value, precision: at("precision").value, pair: sent.length === 1 ? at("pair").value : 0,
    });
    const stated = encodeURIComponent(JSON.stringify(sent.map((file) => [file.name, file.size])));
    const reply = await fetch(`flow?${query}`, {
      method: "POST", body: new Blob(sent), headers: {"X-Files": stated, "Content-Type": "application/octet-stream"},
    });
    if (!reply.ok) throw new Error((await reply.json()).error);
    await show(await reply.arrayBuffer());
    say("");
  } catch (error) {
    say(error instanceof TypeError ? "The server does not answer: is `flowzoo demo` still running?" : error.message, true);
  }
  at("compute").disabled = false;
}

// Bytes of a JSON text (4, little endian), the text, then the parts it names.
function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const facts = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const parts = {};
  let start = 4 + length;
  for (const [name, size] of facts.parts) {
    parts[name] = buffer.slice(start, start + size);
    start += size;
  }
  return {facts, parts};
}

async function show(buffer) {
  answer = unpack(buffer);
  const {facts, parts} = answer;
  const pictures = {};
  for (const name of ["flow.png", "first", "warped", "occlusion"]) {
    pictures[name] = await createImageBitmap(new Blob([parts[name]], {type: "image/png"}));
  }
  at("result").hidden = false;
  at("scale").textContent = `full colour: ${facts.scale.toPrecision(3)} px`;
  at("vector").textContent = "Point at the picture to read a vector.";
  const rows = {
    "Size": `${facts.width} x ${facts.height} pixels`,
    "Time": `${facts.seconds.toFixed(2)} s, both directions, on ${facts.device}, ${facts.precision}`,
    "Network": facts.network,
    "Occluded": `${(100 * facts.occluded).toFixed(1)} % of the first image`,
  };
  if (facts.pairs > 1) {
    rows["Pair"] = `${facts.pair} of 0 to ${facts.pairs - 1}`;
    at("pair").max = facts.pairs - 1;
  }
  at("facts").replaceChildren(...Object.entries(rows).flatMap(([name, text]) => {
    const term = document.createElement("dt"), what = document.createElement("dd");
    term.textContent = name;
    what.textContent = text;
    return [term, what];
  }));
  view.show({width: facts.width, height: facts.height, pictures, flow: new Float32Array(parts["flow.flo"].slice(12))});
}

// NumPy's format 1.0: magic, version, length of the header, a header that ends at a multiple of 64 bytes, then the data.
function npy() {
  const {facts, parts} = answer;
  const shape = `{'descr': '<f4', 'fortran_order': False, 'shape': (${facts.height}, ${facts.width}, 2), }`;
  const header = shape.padEnd(64 * Math.ceil((shape.length + 11) / 64) - 11) + "\n";
  const start = new Uint8Array([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, header.length & 255, header.length >> 8]);
  return new Blob([start, header, parts["flow.flo"].slice(12)]);
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// As if it had been chosen: the browser's own button then shows its name.
function put(index, file) {
  const chosen = new DataTransfer();
  chosen.items.add(file);
  at(["first", "second"][index]).files = chosen.files;
  take(index, file);
}

function drop(event) {
  event.preventDefault();
  at("drop").classList.remove("over");
  const dropped = [...event.dataTransfer.files];
  if (dropped.length > 1 && !isClip(dropped[0])) {
    dropped.sort((a, b) => a.name.localeCompare(b.name, undefined, {numeric: true}));
    put(0, dropped[0]);
    put(1, dropped[1]);
  } else if (dropped.length) {
    put(files[0] && !isClip(dropped[0]) && !isClip(files[0]) && !files[1] ? 1 : 0, dropped[0]);
  }
}

at("first").addEventListener("change", (event) => take(0, event.target.files[0] ?? null));
at("second").addEventListener("change", (event) => take(1, event.target.files[0] ?? null));
at("form").addEventListener("submit", compute);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
document.addEventListener("dragleave", () => at("drop").classList.remove("over"));
document.addEventListener("drop", drop);
document.querySelectorAll("[name=view]").forEach((button) => button.addEventListener("change", () => {
  view.shown = button.value;
  at("slider-label").hidden = button.value !== "warp";
  at("legend").hidden = button.value !== "flow";
  view.draw();
}));
at("slider").addEventListener("input", (event) => {
  view.split = event.target.value / 100;
  view.draw();
});
at("save-flo").addEventListener("click", () => save(new Blob([answer.parts["flow.flo"]]), "flow.flo"));
at("save-npy").addEventListener("click", () => save(npy(), "flow.npy"));
at("save-png").addEventListener("click", () => save(new Blob([answer.parts["flow.png"]], {type: "image/png"}), "flow.png"));
offer();
