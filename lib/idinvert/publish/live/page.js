// The page: what its controls do. `window.idinvertLive` holds what the scripts beside this one bring,
// once the reader has pressed the button.

const root = document.getElementById("live");
const $ = name => root.querySelector(`[data-live="${name}"]`);
const place = document.currentScript.src.replace(/[^/]*$/, "");
const RUNTIME = JSON.parse(root.dataset.runtime); // [file, bytes]
const SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10,
                           1, 8, 0, 65, 0, 253, 15, 253, 98, 11);
const REACH = 5; // of an attribute's slider, in units of codes
const SHOWN = 1200; // px of a photograph in which a face is looked for
const SURE = 0.5; // that there is a face

let engine, model;
const state = {
  target: null, title: "", python: "", // the picture to invert, what it is, how Python reads it
  start: null, codes: null, // E(x), and the code of the inversion so far
  second: null, // code of the second face
  losses: [], base: null, // of the refinement; scores before the edit
  box: null, // the rectangle, in px: left, top, right, bottom
};

// --- loading --------------------------------------------------------------------------------------

/** A worker whose tasks are promises. */
class Engine {
  constructor(text) {
    this.worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    this.waiting = new Map();
    this.count = 0;
    this.ready = {}; // promises of the networks
    this.worker.onmessage = ({ data: { id, result, error, progress } }) => {
      const { resolve, reject, report } = this.waiting.get(id);
      if (progress !== undefined) return report(progress);
      this.waiting.delete(id);
      return error === undefined ? resolve(result) : reject(new Error(error));
    };
    this.worker.onerror = event => this.waiting.forEach(({ reject }) => reject(event));
  }

  call(task, options, report = () => {}, transferred = []) {
    const id = ++this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, report });
      this.worker.postMessage({ id, task, ...options }, transferred);
    });
  }

  /** Make networks ready, one after the other, after a promise; they can be awaited at once. */
  load(networks, before, report) {
    let last = before;
    for (const { name, ...options } of networks) {
      last = this.ready[name] = last.then(() => this.call("load", { name, ...options })).then(report);
    }
    return last;
  }

  async run(network, inputs) {
    await this.ready[network];
    return this.call("run", { network, inputs });
  }

  render(codes) { return this.call("render", { codes }); }

  async encode(image) { return (await this.run("encoder", { image })).codes; }

  /** Probabilities of the attributes in an image, by name. */
  async scores(image) {
    const { logits } = await this.run("classifier", { image });
    return Object.fromEntries(
      model.attributes.map((name, i) => [name, 1 / (1 + Math.exp(-logits[i]))]));
  }
}

/** Why this browser cannot run the page, or "". */
function lacking() {
  const browser = "use a recent Chrome, Edge, Firefox or Safari.";
  if (typeof DecompressionStream === "undefined") {
    return `This browser cannot unpack the networks (it has no DecompressionStream): ${browser}`;
  }
  if (typeof WebAssembly === "undefined" || !WebAssembly.validate(SIMD)) {
    return `This browser cannot run the networks (it has no WebAssembly with SIMD): ${browser}`;
  }
  return "";
}

function addScript(file) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = place + file;
    script.onload = resolve;
    script.onerror = () => reject(new Sentence(
      `${file} could not be loaded: it lies in ${place} beside the book's pages.`));
    document.head.append(script);
  });
}

// The networks of the first picture; a model has its generator whole or in three parts
const FIRST = ["encoder", "generator", "coarse", "fine", "preview"];
let showFirst; // resolves `shown`
const shown = new Promise(resolve => { showFirst = resolve; });

/** Load the runtime and a model's script, [file, bytes], and start the networks of the first picture; the others follow behind it. */
async function load(script) {
  const scripts = [RUNTIME, script], total = RUNTIME[1] + script[1], bar = $("progress");
  bar.hidden = false;
  let started;
  for (const [file, bytes] of scripts) {
    await addScript(file);
    bar.value += 0.6 * bytes / total;
    if (started) continue;
    const { runtime, worker, wasm, loader } = window.idinvertLive;
    engine = new Engine(`${runtime}\n${worker}`);
    started = engine.call("start", { wasm, loader }); // while the networks are loaded
  }
  const given = window.idinvertLive;
  model = given.model;
  model.boundaries = Object.fromEntries(Object.entries(model.boundaries).map(
    ([name, { direction }]) => [name, Float32Array.from(direction.flat())]));
  const chosen = names => names.map(
    name => ({ name, packed: given.networks[name], inputs: model.networks[name].inputs }));
  const needed = FIRST.filter(name => name in given.networks);
  const first = engine.load(chosen(needed), started, () => { bar.value += 0.4 / needed.length; });
  const others = Object.keys(given.networks).filter(name => !FIRST.includes(name));
  engine.load(chosen(others), Promise.all([first, shown])).catch(sayFailed);
  delete given.networks, delete given.wasm, delete given.runtime;
  await first;
}

const buttons = [...root.querySelectorAll("[data-live=start]")];

/** Begin with the model of a button. */
async function begin({ currentTarget: button }) {
  const reason = lacking();
  if (reason) return say(reason);
  buttons.forEach(other => { other.disabled = true; });
  say("Loading ..");
  const pressed = performance.now(), script = JSON.parse(button.dataset.script);
  for (const text of root.querySelectorAll("[data-of]")) text.hidden = text.dataset.of !== script[0];
  try {
    await load(script);
    await build();
  } catch (error) {
    buttons.forEach(other => { other.disabled = false; });
    return sayFailed(error);
  }
  $("intro").hidden = true;
  $("app").hidden = false;
  say("");
  shown.then(() => {
    const seconds = ((performance.now() - pressed) / 1000).toFixed(1);
    $("timing").textContent = `In this browser the first picture took ${seconds} s.`;
  });
  return choose(...faceOf(model.faces.first));
}

function sayFailed(error) {
  say(error instanceof Sentence ? error.message
    : `The networks could not be started: ${error.message ?? error}.`);
}

function say(sentence) { $("status").textContent = sentence; }

// --- faces ----------------------------------------------------------------------------------------

let faces = []; // images of the test faces

/** Image, title and Python of a test face. */
function faceOf(index) {
  return [faces[index], `${model.faces.title} ${index + 1}`,
          model.faces.python.replaceAll("INDEX", index)];
}

async function build() {
  $("steps").max = model.steps[1];
  $("steps").value = Math.min($("steps").value, model.steps[0]);
  const sheet = new Image();
  sheet.src = model.faces.sheet;
  await sheet.decode();
  const size = model.resolution;
  for (let i = 0; i < model.faces.count; i++) {
    const canvas = blank(size);
    const context = canvas.getContext("2d");
    context.drawImage(sheet, -i * size, 0);
    faces.push(fromPixels(context.getImageData(0, 0, size, size).data));
    const [face, title] = faceOf(i);
    addFace("faces", face, title, () => choose(...faceOf(i)));
    addFace("seconds", face, title, () => chooseSecond(face));
    await new Promise(resolve => setTimeout(resolve)); // the page stays free
  }
  for (const name of Object.keys(model.boundaries)) addAttribute(name);
  $("mix").max = model.layers;
  mark("seconds", $("seconds").children[1]);
  shown.then(() => chooseSecond(faces[1]));
}

/** A button with a picture; one of a strip is pressed. */
function addFace(strip, image, title, press) {
  const button = document.createElement("button");
  const canvas = document.createElement("canvas");
  draw(canvas, image);
  button.type = "button";
  button.title = title;
  button.setAttribute("aria-label", title);
  button.append(canvas);
  button.onclick = () => { mark(strip, button); press(); };
  $(strip).append(button);
  return button;
}

function mark(strip, pressed) {
  for (const button of $(strip).children) button.setAttribute("aria-pressed", button === pressed);
}

/** Normal numbers, by Box and Muller. */
function normal(count) {
  return Float32Array.from({ length: count }, () =>
    Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()));
}

async function sample() {
  const { codes } = await engine.run("mapping", { latent: normal(model.z_dim) });
  const image = await engine.render(codes);
  return choose(image.map(value => Math.min(1, Math.max(-1, value))), "a sampled face", "");
}

async function chooseSecond(image) {
  state.second = await engine.encode(image);
  return edit();
}

/** Begin with another target: its encoding is shown and refined. */
async function choose(image, title, python) {
  await engine.call("stop");
  if (python === "" || title.startsWith("your")) mark("faces", null);
  else mark("faces", $("faces").children[faces.indexOf(image)]);
  Object.assign(state, { target: image, title, python, start: await engine.encode(image),
                         pasted: false });
  state.codes = state.start.slice();
  draw($("target"), image);
  caption("inversion", "Inversion, step 0", "Inversion that begins at the encoding");
  caption("target", `Target: ${title}`, `Target, ${title}`);
  setBox(null);
  await showStart("Encoding E(x)");
  return refine();
}

async function showStart(title) {
  state.base = null;
  const image = await engine.render(state.start);
  draw($("encoding"), image);
  draw($("inversion"), image);
  caption("encoding", title, `${title}, the image of the code that the encoder gives`);
  showFirst();
}

function caption(name, title, text) {
  $(`${name}-caption`).textContent = title;
  $(name).setAttribute("aria-label", text);
}

// --- refinement -----------------------------------------------------------------------------------

function ones() { return new Float32Array(model.resolution ** 2).fill(1); }

/** Minimise Eq. (4), from the encoding; the pictures and the curve follow. */
async function refine(target = state.target, mask = ones(), lambda = Number($("lambda").value)) {
  await engine.call("stop");
  const steps = Number($("steps").value), losses = state.losses = [];
  running(true);
  await engine.ready.equation4;
  if (state.losses !== losses) return;
  const began = performance.now();
  const last = await engine.call("refine", { codes: state.start.slice(), target, mask, lambda, steps,
                                              rate: model.learning_rate },
    ({ step, image, pixel, code, codes }) => {
      if (state.losses !== losses) return; // another one has begun
      losses.push({ pixel, code: lambda * code });
      state.codes = codes;
      draw($("inversion"), image);
      drawCurve(losses, steps, lambda);
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      $("readout").textContent = `step ${step + 1} of ${steps}, ${seconds} s`;
      caption("inversion", `Inversion, step ${step + 1}`,
              `Inversion after ${step} steps, mean squared error ${pixel.toFixed(4)}`);
      if (step % 10 === 0) edit();
    });
  if (state.losses !== losses) return;
  if (last) state.codes = last;
  draw($("inversion"), await engine.render(state.codes));
  caption("inversion", last ? `Inversion, ${steps} steps` : "Inversion, stopped",
          `Inversion after ${losses.length} steps`);
  running(false);
  state.base = null;
  await edit();
}

/** Refine the target once more, with the sliders as they are now. */
async function restart() {
  await engine.call("stop");
  state.start = await engine.encode(state.target);
  await showStart("Encoding E(x)");
  return refine();
}

function running(is) {
  $("refine").disabled = is;
  $("stop").disabled = !is;
}

/** The terms of Eq. (4) over the steps, on a logarithmic scale. */
function drawCurve(losses, steps, lambda) {
  const values = losses.flatMap(({ pixel, code }) => lambda ? [pixel, code] : [pixel]);
  const top = Math.log10(Math.max(...values)) + 0.05;
  const bottom = Math.min(Math.log10(Math.max(1e-6, Math.min(...values))) - 0.05, top - 0.5);
  for (const term of ["pixel", "code"]) {
    const points = losses.map((loss, i) => {
      const height = (top - Math.log10(Math.max(loss[term], 1e-6))) / (top - bottom);
      return `${(600 * i / Math.max(1, steps - 1)).toFixed(1)},${(140 * height).toFixed(1)}`;
    });
    $(`line-${term}`).setAttribute("points", term === "code" && !lambda ? "" : points.join(" "));
  }
  const { pixel, code } = losses.at(-1);
  $("value-pixel").textContent = pixel.toFixed(4);
  $("value-code").textContent = code.toFixed(4);
  $("top").textContent = (10 ** top).toPrecision(2);
  $("bottom").textContent = (10 ** bottom).toPrecision(2);
  $("curve").setAttribute("aria-label", `Loss over ${losses.length} steps: the pixel term went from `
    + `${losses[0].pixel.toFixed(4)} to ${pixel.toFixed(4)}`);
}

// --- editing --------------------------------------------------------------------------------------

function addAttribute(name) {
  const row = document.createElement("div");
  row.className = "live-slider";
  row.innerHTML = `<label for="live-${name}">${name.replace("_", " ")}</label>
    <input type="range" id="live-${name}" min="${-REACH}" max="${REACH}" step="0.1" value="0">
    <output for="live-${name}">0</output>${model.attributes.includes(name)
      ? '<span class="live-score" aria-label="classifier"></span>' : ""}`;
  row.dataset.attribute = name;
  row.querySelector("input").oninput = edit;
  $("attributes").append(row);
}

const strengths = () => Object.fromEntries([...$("attributes").children].map(
  row => [row.dataset.attribute, Number(row.querySelector("input").value)]));

/** The code with all edits: on the way to the second, with its fine layers, along boundaries. */
function edited() {
  const way = Number($("way").value), kept = model.layers - Number($("mix").value);
  const codes = state.codes.map((value, i) => value + way * (state.second[i] - value));
  codes.set(state.second.subarray(kept * model.w_dim), kept * model.w_dim);
  for (const [name, strength] of Object.entries(strengths())) {
    const direction = model.boundaries[name];
    if (strength) codes.forEach((value, i) => { codes[i] = value + strength * direction[i]; });
  }
  return codes;
}

let editing = false, again = false;

/** Show the edit, at first its preview where there is one; while it is computed, only the last of
    those that follow is kept. */
async function edit() {
  if (!state.codes || !state.second) return;
  describe();
  if (editing) { again = true; return; }
  editing = true;
  do {
    again = false;
    const codes = edited();
    if (model.networks.preview) {
      draw($("edited"), await engine.call("preview", { codes }));
      count("previewed");
      if (again) continue;
    }
    const image = await engine.render(codes);
    draw($("edited"), image);
    count("shown");
    await showScores(image);
  } while (again);
  editing = false;
}

/** Count pictures, for those who wait for one. */
function count(what) { root.dataset[what] = Number(root.dataset[what] ?? 0) + 1; }

async function showScores(image) {
  if (!model.networks.classifier) return;
  state.base ??= await engine.scores(await engine.render(state.codes));
  const after = await engine.scores(image);
  for (const row of $("attributes").children) {
    const name = row.dataset.attribute, percent = value => `${Math.round(100 * value)} %`;
    if (name in after) {
      row.querySelector(".live-score").textContent =
        `${percent(state.base[name])} → ${percent(after[name])}`;
      row.style.setProperty("--before", state.base[name]);
      row.style.setProperty("--after", after[name]);
    }
  }
}

/** What was done, as text: values of sliders, the picture's name, the same in Python. */
function describe() {
  const moved = Object.entries(strengths()).filter(([, value]) => value);
  for (const row of $("attributes").children) {
    row.querySelector("output").textContent = signed(row.querySelector("input").value);
  }
  for (const name of ["lambda", "steps", "way", "mix"]) {
    $(`${name}-value`).textContent = $(name).value;
  }
  const text = moved.map(([name, value]) => `${name} ${signed(value)}`).join(", ");
  caption("edited", text ? `Edited: ${text}` : "Edited", `Edited image: ${text || "no attribute moved"}`);
  const keywords = moved.map(([name, value]) => `, ${name}=${value}`).join("");
  const attributes = moved.map(([name, value]) => `${name}=${signed(value)}`).join(" ");
  const image = state.python || `idinvert.read_image("photo.png", ${model.resolution})[None]`;
  $("python").textContent = `import idinvert
${state.python ? `${model.faces.imports}\n` : ""}
model = idinvert.load("${model.name}")
found = model.invert(${image}, "in-domain",
                     lambda_dom=${$("lambda").value}, iterations=${$("steps").value}, lambda_vgg=0)${
  model.networks.preview ? "\n# (this page steps by previews, so that codes differ a little)" : ""}
edited = model.render(model.edit(found.codes${keywords}))
idinvert.write_image("edited.png", edited[0])

# or, with the code that this page saves:
#   idinvert edit code.npy ${attributes || "age=+3"} --model ${model.name} --out edited.png`;
}

const signed = value => (value > 0 ? `+${Number(value)}` : `${Number(value)}`);

function reset() {
  for (const input of root.querySelectorAll("[data-live=edits] input[type=range]")) input.value = 0;
  return edit();
}

// --- the rectangle of semantic diffusion ----------------------------------------------------------

function setBox(box) {
  state.box = box;
  const frame = $("box"), size = model.resolution;
  frame.hidden = box === null;
  $("diffuse").disabled = box === null;
  if (box === null) return;
  const [left, top, right, bottom] = box.map(value => `${100 * value / size}%`);
  Object.assign(frame.style, { left, top, width: `calc(${right} - ${left})`,
                               height: `calc(${bottom} - ${top})` });
}

function drawBox(event) {
  const canvas = $("target"), size = model.resolution, around = canvas.getBoundingClientRect();
  const at = ({ clientX, clientY }) => [(clientX - around.left) / around.width,
    (clientY - around.top) / around.height].map(
    share => Math.min(size, Math.max(0, Math.round(share * size))));
  const [x, y] = at(event);
  canvas.setPointerCapture(event.pointerId);
  canvas.onpointermove = move => {
    const [u, v] = at(move);
    if (u !== x && v !== y) setBox([Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)]);
  };
  canvas.onpointerup = canvas.onpointercancel = () => { canvas.onpointermove = null; };
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Arrow keys move the rectangle, with Shift they size it. */
function moveBox(event) {
  const step = ARROWS[event.key];
  if (!step) return;
  event.preventDefault();
  const size = model.resolution;
  const [left, top, right, bottom] = state.box ?? [size / 4, size / 4, 3 * size / 4, 3 * size / 4];
  const [dx, dy] = step;
  const box = event.shiftKey ? [left, top, right + dx, bottom + dy]
    : [left + dx, top + dy, right + dx, bottom + dy];
  if (box[0] >= 0 && box[1] >= 0 && box[2] <= size && box[3] <= size && box[2] > box[0]
      && box[3] > box[1]) setBox(box);
}

/** Paste the target's rectangle into the second face, and invert the result inside of it. */
async function diffuse() {
  await engine.call("stop");
  const size = model.resolution, [left, top, right, bottom] = state.box;
  const mask = new Float32Array(size ** 2);
  for (let y = top; y < bottom; y++) mask.fill(1, y * size + left, y * size + right);
  const index = [...$("seconds").children].findIndex(b => b.getAttribute("aria-pressed") === "true");
  const context = faces[index] ?? await engine.render(state.second);
  const pasted = context.map((value, i) => (mask[i % size ** 2] ? state.target[i] : value));
  state.start = await engine.encode(pasted);
  draw($("encoding"), pasted);
  draw($("inversion"), await engine.render(state.start));
  caption("encoding", "Pasted", "The rectangle of the target pasted into the second face");
  return refine(pasted, mask, 0);
}

// --- the reader's own pictures --------------------------------------------------------------------

async function open(file) {
  if (!file) return;
  try {
    const { bitmap, remark } = await readFile(file);
    say(remark);
    await choosePicture(bitmap);
  } catch (error) {
    if (!(error instanceof Sentence)) throw error;
    say(error.message);
  }
}

async function choosePicture(bitmap) {
  const image = model.aligned ? await align(bitmap) : squared(bitmap, model.resolution);
  if (image) await choose(image, "your picture", "");
}

/** Middles of the eyes and of the mouth of the largest face that networks see in a picture; null if
    they see none. It is turned to where they see one best. */
async function findFace(picture) {
  const { width, height } = picture, half = Math.max(width, height) / 2;
  let best = { sure: SURE };
  for (let eighth = 0; eighth < 8; eighth++) {
    const angle = eighth * Math.PI / 4;
    const whole = { centre: [width / 2, height / 2],
                    right: [half * Math.cos(angle), half * Math.sin(angle)] };
    const { faces: found } = await look("detector", picture, whole);
    const rows = Array.from({ length: found.length / 5 }, (_, i) => found.subarray(5 * i, 5 * i + 5));
    const sure = Math.max(...rows.map(row => row[0]));
    if (sure > best.sure) best = { sure, whole, rows };
  }
  if (!best.whole) return null;
  const size = ([sure, , , across, down]) => (sure > SURE ? sure * Math.max(across, down) : 0);
  const [, x, y, across, down] = best.rows.reduce((a, b) => (size(a) >= size(b) ? a : b));
  return pointsOf(picture, { centre: placeIn(best.whole, [x, y]), right: best.whole.right.map(
    value => Math.max(across, down) * value) });
}

/** The points of a face in a square: landmarks are found twice, then once more in the mirrored face,
    as networks do not see both sides alike. */
async function pointsOf(picture, square) {
  const around = squareAround(await marksIn(picture, square));
  const points = eyesAndMouth(await marksIn(picture, around));
  const [left, right, mouth] = eyesAndMouth(await marksIn(picture, around, true));
  return [right, left, mouth].map((point, i) => mean([point, points[i]]));
}

/** Landmarks of the face in a square. */
async function marksIn(picture, square, mirrored = false) {
  const { points } = await look("landmarks", picture, square, mirrored);
  return Array.from({ length: points.length / 2 }, (_, i) => placeIn(
    square, [mirrored ? 1 - points[2 * i] : points[2 * i], points[2 * i + 1]]));
}

/** What a network gives of a square of a picture. */
function look(network, picture, square, mirrored = false) {
  const size = model.networks[network].inputs.image.at(-1);
  const image = cutOut(picture, square, size, false);
  return engine.run(network, { image: mirrored ? image.map(
    (_, i) => image[i - i % size + size - 1 - i % size]) : image });
}

/** The image of the face whose eyes and mouth are found, or pointed at by the reader; null if they
    cancel. */
async function align(bitmap) {
  const canvas = $("photo"), dialog = $("align");
  const scale = Math.min(1, SHOWN / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map(side => Math.round(side * scale));
  [canvas.width, canvas.height] = [width, height];
  canvas.parentElement.style.maxWidth = `${65 * width / height}vh`;
  canvas.getContext("2d").drawImage(bitmap, 0, 0, width, height);
  const cut = Math.min(width, height);
  let points = null;
  if (model.networks.detector) {
    say("Looking for a face ..");
    points = await findFace(canvas);
    say("");
  }
  $("found").textContent = `${points ? "Eyes and mouth were found" : "No face was found"}: `
    + `${points ? "correct the points if they are wrong" : "move the points to both eyes and the mouth"}`
    + " (drag them, or use the arrow keys).";
  // Else those of a picture that is aligned already
  const eyes = 0.75 - 0.5 / 1.8;
  points ??= [[0.375, eyes], [0.625, eyes], [0.5, 0.75]].map(
    ([x, y]) => [width / 2 + (x - 0.5) * cut, height / 2 + (y - 0.5) * cut]);
  const show = () => draw($("cut"), cutOut(canvas, faceSquare(points), 128));
  [...dialog.querySelectorAll(".live-handle")].forEach((handle, i) => {
    const place = ([x, y]) => {
      points[i] = [Math.min(width, Math.max(0, x)), Math.min(height, Math.max(0, y))];
      handle.style.left = `${100 * points[i][0] / width}%`;
      handle.style.top = `${100 * points[i][1] / height}%`;
    };
    place(points[i]);
    handle.onpointerdown = ({ pointerId }) => handle.setPointerCapture(pointerId);
    handle.onpointermove = ({ pointerId, clientX, clientY }) => {
      if (!handle.hasPointerCapture(pointerId)) return;
      const around = canvas.getBoundingClientRect();
      place([(clientX - around.left) / around.width * width,
             (clientY - around.top) / around.height * height]);
      show();
    };
    handle.onkeydown = event => {
      const way = ARROWS[event.key];
      if (!way) return;
      event.preventDefault();
      place(points[i].map((value, axis) => value + way[axis] * cut / 100));
      show();
    };
  });
  show();
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise(resolve => {
    dialog.onclose = () => resolve(dialog.returnValue === "take" ? cutOut(
      bitmap, faceSquare(points.map(point => point.map(value => value / scale))), model.resolution)
      : null);
  });
}

async function openCamera() {
  const dialog = $("camera-dialog"), video = $("video");
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
  } catch {
    return say("The camera cannot be used: allow it for this page, or upload a picture.");
  }
  await video.play();
  return dialog.showModal();
}

async function takePicture() {
  const image = model.aligned ? null : squared($("video"), model.resolution, true);
  const bitmap = await createImageBitmap($("video"));
  $("camera-dialog").close();
  say("");
  return image ? choose(image, "your picture", "") : choosePicture(bitmap);
}

function closeCamera() {
  for (const track of $("video").srcObject?.getTracks() ?? []) track.stop();
}

// --- what the controls do -------------------------------------------------------------------------

const VIEWS = ["target", "encoding", "inversion", "edited"];

buttons.forEach(button => { button.onclick = begin; });
$("sample").onclick = sample;
$("file").onchange = event => { open(event.target.files[0]); event.target.value = ""; };
$("camera").onclick = openCamera;
$("take").onclick = takePicture;
$("camera-dialog").onclose = closeCamera;
$("cancel").onclick = () => $("camera-dialog").close();
$("refine").onclick = $("lambda").onchange = $("steps").onchange = restart;
$("stop").onclick = () => engine.call("stop");
$("lambda").oninput = $("steps").oninput = describe;
$("way").oninput = $("mix").oninput = edit;
$("reset").onclick = reset;
$("diffuse").onclick = diffuse;
$("target").onpointerdown = drawBox;
$("target").onkeydown = moveBox;
$("crisp").onchange = event => root.classList.toggle("live-crisp", event.target.checked);
$("save").onclick = () => save([$("edited")], "edited.png", 512 / model.resolution);
$("save-code").onclick = () => saveCode(state.codes, model.layers, "code.npy");
$("save-all").onclick = () => save(VIEWS.map($), "inversion.png", 512 / model.resolution);
root.ondragover = event => { event.preventDefault(); root.classList.add("live-drop"); };
root.ondragleave = () => root.classList.remove("live-drop");
root.ondrop = event => {
  event.preventDefault();
  root.classList.remove("live-drop");
  if (model) open(event.dataTransfer.files[0]);
};
