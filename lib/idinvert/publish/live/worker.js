// The networks, in a worker, so that the page stays free. The runtime's script stands before this
// one. A message {id, task, ...} is answered by {id, result} or {id, error}, and by {id, progress}
// on the way.

const sessions = {}; // by name of the network
const RENEWED = 5; // steps that an offset is good for
const RIDGE = 0.01; // as in preview.py
const DECAY = 0.9, DECAY2 = 0.999, TINY = 1e-8; // Adam as in PyTorch
let refining = 0; // number of the refinement that may go on
// Where the generator is in parts: the codes that the first one took last, and its features; and
// what the last image tells: the map from features to previews, and the offset of Eq. (4)
let half = { codes: [] }, map, offset;

const tasks = {
  /** Make the runtime ready. */
  async start({ wasm, loader }) {
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.proxy = false;
    ort.env.wasm.wasmBinary = await unpack(wasm);
    const script = new Blob([loader], { type: "text/javascript" });
    ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(script) };
    ort.env.logLevel = "error";
  },

  /** Make a network ready. */
  async load({ name, packed, inputs }) {
    sessions[name] = await ort.InferenceSession.create(await unpack(packed),
                                                       { executionProviders: ["wasm"] });
    sessions[name].shapes = inputs;
  },

  run: ({ network, inputs }) => run(network, inputs),

  /** The image of codes. */
  async render({ codes }) {
    if (!sessions.coarse) return (await run("generator", { codes })).image;
    const features = await featuresOf(codes);
    const found = await run("fine", { features, codes });
    map = fitted(found.squares, found.products);
    offset = found.offset;
    return found.image;
  },

  /** What the image of codes will be like, by the map of the last one. */
  async preview({ codes }) {
    return (await run("preview", { features: await featuresOf(codes), map })).preview;
  },

  /** Adam on Eq. (4) without its VGG term; reports every step, returns the last code. */
  async refine({ codes, target, mask, lambda, steps, rate }, report) {
    const mine = ++refining;
    const inputs = { codes, target, mask, lambda_dom: Float32Array.of(lambda) };
    const mean = new Float32Array(codes.length), square = new Float32Array(codes.length);
    for (let t = 1; t <= steps; t++) {
      if (sessions.coarse && t % RENEWED === 1) {
        await tasks.render({ codes });
        inputs.offset = offset;
      }
      const found = await run("equation4", inputs);
      report({ step: t - 1, image: found.image, pixel: found.pixel[0], code: found.code[0],
               codes: codes.slice() });
      const bias = 1 - DECAY ** t, bias2 = Math.sqrt(1 - DECAY2 ** t);
      for (let i = 0; i < codes.length; i++) {
        const g = found.gradient[i];
        mean[i] += (1 - DECAY) * (g - mean[i]);
        square[i] = DECAY2 * square[i] + (1 - DECAY2) * g * g;
        codes[i] -= rate / bias * mean[i] / (Math.sqrt(square[i]) / bias2 + TINY);
      }
      await new Promise(resolve => setTimeout(resolve)); // other messages come in between
      if (mine !== refining) return null;
    }
    return codes;
  },

  /** End the refinement that runs, after its present step. */
  stop() { refining++; },
};

/** Features of codes; they are kept, as the image often follows a preview. */
async function featuresOf(codes) {
  if (codes.some((value, i) => value !== half.codes[i])) {
    const { features } = await run("coarse", { codes });
    half = { codes: codes.slice(), features };
    return features;
  }
  return half.features;
}

/** The map [rows, size] of least squares with squares [size, size] and products [rows, size], by
    Cholesky's decomposition. */
function fitted(squares, products) {
  const size = Math.sqrt(squares.length), low = Float64Array.from(squares);
  const map = Float64Array.from(products);
  for (let i = 0; i < size; i++) {
    low[i * size + i] *= 1 + RIDGE;
    for (let j = 0; j <= i; j++) {
      let left = low[i * size + j];
      for (let k = 0; k < j; k++) left -= low[i * size + k] * low[j * size + k];
      low[i * size + j] = i === j ? Math.sqrt(left) : left / low[j * size + j];
    }
  }
  for (let row = 0; row < map.length; row += size) {
    for (let i = 0; i < size; i++) {
      for (let k = 0; k < i; k++) map[row + i] -= low[i * size + k] * map[row + k];
      map[row + i] /= low[i * size + i];
    }
    for (let i = size - 1; i >= 0; i--) {
      for (let k = i + 1; k < size; k++) map[row + i] -= low[k * size + i] * map[row + k];
      map[row + i] /= low[i * size + i];
    }
  }
  return Float32Array.from(map);
}

/** The bytes that a string of base64 of gzip stands for. */
async function unpack(text) {
  const packed = await fetch(`data:application/octet-stream;base64,${text}`);
  const stream = packed.body.pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Outputs of a network, by name, as plain arrays. */
async function run(name, inputs) {
  const session = sessions[name];
  const tensors = Object.entries(inputs).map(
    ([key, values]) => [key, new ort.Tensor("float32", values, session.shapes[key])]);
  const found = await session.run(Object.fromEntries(tensors));
  return Object.fromEntries(Object.entries(found).map(([key, tensor]) => [key, tensor.data]));
}

onmessage = async ({ data: { id, task, ...options } }) => {
  try {
    const result = await tasks[task](options, progress => postMessage({ id, progress }));
    postMessage({ id, result });
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error) });
  }
};
