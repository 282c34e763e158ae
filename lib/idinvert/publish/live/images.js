// Pictures: files, the camera and canvases on one side, arrays on the other. An image is a
// Float32Array of 3 x r x r numbers in [-1, 1], as the networks take it.

const MEGAPIXELS = 50; // the most that is decoded
const AROUND = 1.25; // a side of the square in which landmarks are found, in sides of theirs

/** Something that the reader can mend; its message is one sentence for the page. */
class Sentence extends Error {}

const starts = (bytes, text, at = 0) =>
  [...text].every((letter, i) => bytes[at + i] === letter.charCodeAt(0));

/** What a file is, by its content: "png", "jpeg", "heic", ..; null if it is no picture. */
function kindOf(bytes) {
  if (starts(bytes, "\x89PNG")) return "png";
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return "jpeg";
  if (starts(bytes, "GIF8")) return "gif";
  if (starts(bytes, "RIFF") && starts(bytes, "WEBP", 8)) return "webp";
  if (starts(bytes, "BM")) return "bmp";
  if (starts(bytes, "ftyp", 4)) {
    const brand = String.fromCharCode(...bytes.slice(8, 12));
    if (/^avi[fs]$/.test(brand)) return "avif";
    if (/^(hei[cxms]|hev[cxms]|mif1|msf1)$/.test(brand)) return "heic";
  }
  return null;
}

/** Width and height that the header of a file states; null where it is not known. */
function sizeOf(bytes, kind) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (kind === "png") return [view.getUint32(16), view.getUint32(20)];
    if (kind === "gif") return [view.getUint16(6, true), view.getUint16(8, true)];
    if (kind === "bmp") return [view.getInt32(18, true), Math.abs(view.getInt32(22, true))];
    if (kind === "webp" && starts(bytes, "VP8X", 12)) {
      return [1 + (view.getUint32(24, true) & 0xffffff), 1 + (view.getUint32(26, true) >>> 8)];
    }
    if (kind === "jpeg") {
      for (let at = 2; at < bytes.length; at += 2 + view.getUint16(at + 2)) {
        const marker = bytes[at + 1];
        if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
          return [view.getUint16(at + 7), view.getUint16(at + 5)];
        }
      }
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // the file is cut off
  }
  return null;
}

/** Whether a GIF has more than one picture: its blocks are walked through. */
function isAnimated(bytes) {
  const table = flags => (flags & 0x80 ? 3 << ((flags & 7) + 1) : 0);
  const past = at => { while (bytes[at]) at += bytes[at] + 1; return at + 1; };
  let at = 13 + table(bytes[10]), pictures = 0;
  while (at < bytes.length && bytes[at] !== 0x3b) {
    if (bytes[at] === 0x21) at = past(at + 2);
    else if (bytes[at] === 0x2c) {
      if (++pictures > 1) return true;
      at = past(at + 11 + table(bytes[at + 9]));
    } else return false;
  }
  return false;
}

/** The picture of a file, and a remark or "". Sentence: the file cannot be used. */
async function readFile(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const kind = kindOf(bytes);
  if (kind === null) {
    throw new Sentence(`${file.name} is not a picture: choose a JPEG, PNG or WebP file.`);
  }
  if (kind === "heic") {
    throw new Sentence(`${file.name} is a HEIC photograph, which browsers cannot read: save it as a `
                       + "JPEG file first.");
  }
  const stated = sizeOf(bytes, kind);
  if (stated && stated[0] * stated[1] > MEGAPIXELS * 1e6) {
    const found = Math.round(stated[0] * stated[1] / 1e6);
    throw new Sentence(`${file.name} has ${found} megapixels, but at most ${MEGAPIXELS} are read `
                       + "here: make it smaller first.");
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type: `image/${kind}` }));
  } catch {
    throw new Sentence(`${file.name} is damaged, or a picture that this browser cannot read: choose `
                       + "a JPEG, PNG or WebP file.");
  }
  if (Math.min(bitmap.width, bitmap.height) < 8) {
    throw new Sentence(`${file.name} is ${bitmap.width} x ${bitmap.height} px, smaller than 8 px a `
                       + "side: choose a larger picture.");
  }
  const remark = kind === "gif" && isAnimated(bytes)
    ? `${file.name} is an animated GIF: its first picture is taken.` : "";
  return { bitmap, remark };
}

/** The centred square of a picture. */
function squared(picture, size, mirrored = false) {
  const width = picture.videoWidth ?? picture.width, height = picture.videoHeight ?? picture.height;
  const cut = Math.min(width, height);
  return reduced(cut, size, (context, side) => {
    if (mirrored) context.setTransform(-1, 0, 0, 1, side, 0);
    context.drawImage(picture, (width - cut) / 2, (height - cut) / 2, cut, cut, 0, 0, side, side);
  });
}

/** The square in which FFHQ would show a face, from its eyes and its mouth, each [x, y]: its centre
    and the way from there to its right edge, as `photographs.alignment.align`. */
function faceSquare([left, right, mouth]) {
  const eyes = [0, 1].map(i => (left[i] + right[i]) / 2);
  const across = [0, 1].map(i => right[i] - left[i]), down = [0, 1].map(i => mouth[i] - eyes[i]);
  const way = [across[0] + down[1], across[1] - down[0]];
  const half = Math.max(2 * Math.hypot(...across), 1.8 * Math.hypot(...down));
  return { centre: eyes.map((value, i) => value + 0.1 * down[i]),
           right: way.map(value => value * half / Math.hypot(...way)) };
}

/** A square of a picture; beyond its borders the picture is mirrored, or else black. */
function cutOut(picture, { centre: [x, y], right }, size, mirrored = true) {
  const { width, height } = picture, cut = 2 * Math.hypot(...right);
  const places = length => [...(mirrored ? [[1, -1], [2 * length - 1, -1]] : []), [0, 1]];
  return reduced(cut, size, (context, side) => {
    if (!mirrored) context.fillStyle = "black", context.fillRect(0, 0, side, side);
    context.translate(side / 2, side / 2);
    context.scale(side / cut, side / cut);
    context.rotate(-Math.atan2(right[1], right[0]));
    context.translate(-x, -y);
    for (const [across, factor] of places(width)) {
      for (const [down, other] of places(height)) {
        context.save();
        context.translate(across, down);
        context.scale(factor, other);
        context.drawImage(picture, 0, 0);
        context.restore();
      }
    }
  });
}

/** Where a point of a square, [x, y] as shares of its side, is in the picture. */
function placeIn({ centre, right: [x, y] }, [across, down]) {
  const [u, v] = [2 * across - 1, 2 * down - 1];
  return [centre[0] + u * x - v * y, centre[1] + u * y + v * x];
}

const mean = points => [0, 1].map(
  axis => points.reduce((sum, point) => sum + point[axis], 0) / points.length);

/** Middles of both eyes and of the mouth, of 68 landmarks in dlib's order. */
function eyesAndMouth(marks) {
  return [mean(marks.slice(36, 42)), mean(marks.slice(42, 48)), mean([marks[48], marks[54]])];
}

/** The square around landmarks in which a network looks for them again: as upright as the eyes. */
function squareAround(marks) {
  const [left, right] = eyesAndMouth(marks), eyes = [right[0] - left[0], right[1] - left[1]];
  const [x, y] = eyes.map(value => value / Math.hypot(...eyes));
  const along = [([u, v]) => u * x + v * y, ([u, v]) => v * x - u * y].map(
    axis => marks.map(axis));
  const [low, high] = [Math.min, Math.max].map(end => along.map(values => end(...values)));
  const [u, v] = [0, 1].map(axis => (low[axis] + high[axis]) / 2);
  const half = AROUND * Math.max(high[0] - low[0], high[1] - low[1]) / 2;
  return { centre: [u * x - v * y, u * y + v * x], right: [half * x, half * y] };
}

/** The image of what is painted on a square `cut` px wide; reduced on white in halves, which leaves
    no false patterns. */
function reduced(cut, size, paint) {
  let side = Math.max(size, Math.min(cut, size * 2 ** Math.floor(Math.log2(cut / size))));
  let canvas = blank(side);
  paint(canvas.getContext("2d"), side);
  for (; side > size; side /= 2) {
    const half = blank(side / 2);
    half.getContext("2d").drawImage(canvas, 0, 0, side / 2, side / 2);
    canvas = half;
  }
  return fromPixels(canvas.getContext("2d").getImageData(0, 0, size, size).data);
}

function blank(side) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white";
  context.fillRect(0, 0, side, side);
  return canvas;
}

/** The image of RGBA bytes. */
function fromPixels(bytes) {
  const count = bytes.length / 4;
  const image = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < 3; c++) image[c * count + i] = bytes[4 * i + c] / 127.5 - 1;
  }
  return image;
}

/** Show an image on a canvas of its size. */
function draw(canvas, image) {
  const count = image.length / 3, side = Math.sqrt(count);
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const pixels = new ImageData(side, side);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < 3; c++) {
      pixels.data[4 * i + c] = Math.round((image[c * count + i] + 1) * 127.5);
    }
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

/** Offer canvases side by side as a PNG file, each pixel enlarged. */
function save(canvases, name, enlarged) {
  const side = canvases[0].width * enlarged;
  const sheet = document.createElement("canvas");
  sheet.width = side * canvases.length;
  sheet.height = side;
  const context = sheet.getContext("2d");
  context.imageSmoothingQuality = "high";
  canvases.forEach((canvas, i) => context.drawImage(canvas, i * side, 0, side, side));
  offer(sheet.toDataURL("image/png"), name);
}

/** Numbers [1, L, D] as a NumPy file, which `idinvert edit` reads. */
function saveCode(codes, layers, name) {
  const shape = `(1, ${layers}, ${codes.length / layers})`;
  const header = `{'descr': '<f4', 'fortran_order': False, 'shape': ${shape}, }`;
  const start = Uint8Array.from(`\x93NUMPY\x01\x00\x76\x00${header.padEnd(117)}\n`,
                                letter => letter.charCodeAt(0));
  offer(URL.createObjectURL(new Blob([start, Float32Array.from(codes)])), name);
}

function offer(address, name) {
  const link = document.createElement("a");
  link.download = name;
  link.href = address;
  link.click();
}
