// Bytes to frames and back: a length of four bytes, and a payload of CBOR. Long messages go in pieces.

import { decode, encode, Tag } from "cbor2";

export const BEGIN = 7;
export const PIECE = 8;

const MOST_FRAME_BYTES = 262144;
const PIECE_HEAD_BYTES = 7; // at most: 82 08, and the head of a byte string
const INLINE_BYTES = 4096;

const STRICT = { rejectStreaming: true, rejectDuplicateKeys: true };
const FLOATS_OF_32_BITS = 85;

/** Cuts what comes from a socket into payloads. */
export class Splitter {
  #data = Buffer.alloc(0);

  *feed(data) {
    this.#data = Buffer.concat([this.#data, data]);
    while (this.#data.length >= 4) {
      const length = this.#data.readUInt32BE(0);
      if (length > MOST_FRAME_BYTES) throw new Error(`a frame of ${length} bytes was announced`);
      if (this.#data.length < 4 + length) return;
      yield this.#data.subarray(4, 4 + length);
      this.#data = this.#data.subarray(4 + length);
    }
  }
}

/** Turns payloads into frames, and puts together what came in pieces. */
export class Joiner {
  #headBytes = 0;
  #left = 0;
  #pieces = [];

  /** Return { frame, size }, or null when more pieces are to come. `size` is what counts for credit. */
  take(payload) {
    const frame = decode(payload, STRICT);
    if (frame[0] === BEGIN) {
      if (this.#left) throw new Error("a second message in pieces began before the first was complete");
      this.#headBytes = Number(frame[1]);
      this.#left = this.#headBytes + Number(frame[2]);
      this.#pieces = [];
      return null;
    }
    if (frame[0] !== PIECE) return { frame, size: payload.length };
    this.#left -= frame[1].length;
    if (this.#left < 0) throw new Error("a piece came that is longer than what was announced");
    this.#pieces.push(frame[1]);
    if (this.#left) return null;
    const bytes = Buffer.concat(this.#pieces);
    const head = decode(bytes.subarray(0, this.#headBytes), STRICT);
    const arrays = [...sequence(bytes.subarray(this.#headBytes))];
    return { frame: filled(head, arrays), size: bytes.length };
  }
}

/** Yield the items behind a head: typed arrays, with the shortest heads of a tag and of a byte string. */
function* sequence(bytes) {
  let at = 0;
  while (at < bytes.length) {
    if (bytes[at] !== 0xd8) throw new Error("what came behind a head is no typed array");
    const [length, headBytes] = lengthOf(bytes, at + 2);
    const end = at + 2 + headBytes + length;
    yield decode(bytes.subarray(at, end), STRICT);
    at = end;
  }
}

function lengthOf(bytes, at) {
  const short = bytes[at] & 31;
  if (bytes[at] >> 5 !== 2 || short > 27) throw new Error("a typed array is a byte string");
  if (short < 24) return [short, 1];
  const wide = 1 << (short - 24);
  return [wide === 8 ? Number(bytes.readBigUInt64BE(at + 1)) : bytes.readUIntBE(at + 1, wide), 1 + wide];
}

/** Put the arrays that came behind a head where it has bare numbers, in their order. */
function filled(item, arrays) {
  if (item instanceof Tag) {
    if (item.tag === 40 && typeof item.contents[1] === "number") {
      return new Tag(40, [item.contents[0], arrays.shift()]);
    }
    return new Tag(item.tag, filled(item.contents, arrays));
  }
  if (Array.isArray(item)) return item.map((each) => filled(each, arrays));
  if (item && Object.getPrototypeOf(item) === Object.prototype) {
    return Object.fromEntries(Object.entries(item).map(([key, value]) => [key, filled(value, arrays)]));
  }
  return item;
}

/** A matrix of 32-bit floats, as it is handed to `packed`. */
export class Matrix {
  constructor(rows, columns, numbers) {
    this.dimensions = [rows, columns];
    this.numbers = numbers; // a Float32Array, row by row
  }

  /** Return the matrix that a decoded item is. */
  static of(item) {
    if (!(item instanceof Tag) || item.tag !== 40 || !(item.contents[1] instanceof Float32Array)) {
      throw new Error("this is no array of 32-bit floats");
    }
    return new Matrix(...item.contents[0], item.contents[1]);
  }
}

/** Encode a frame: { head, tail, size }. Large matrices go behind the head. */
export function packed(frame) {
  const tail = [];
  const head = Buffer.from(encode(unbuilt(frame, tail)));
  const size = tail.reduce((sum, each) => sum + each.length, head.length);
  return { head, tail, size };
}

function unbuilt(item, tail) {
  if (item instanceof Matrix) {
    const bytes = littleEndian(item.numbers);
    if (bytes.length <= INLINE_BYTES) return new Tag(40, [item.dimensions, new Tag(FLOATS_OF_32_BITS, bytes)]);
    tail.push(Buffer.from(encode(new Tag(FLOATS_OF_32_BITS, bytes))));
    return new Tag(40, [item.dimensions, FLOATS_OF_32_BITS]);
  }
  if (item instanceof Tag) return new Tag(item.tag, unbuilt(item.contents, tail));
  if (Array.isArray(item)) return item.map((each) => unbuilt(each, tail));
  return item;
}

function littleEndian(numbers) {
  const bytes = new Uint8Array(numbers.length * 4);
  const view = new DataView(bytes.buffer);
  numbers.forEach((number, at) => view.setFloat32(at * 4, number, true));
  return bytes;
}

/** Yield the frames of what was packed, each with its length in front. */
export function* cut({ head, tail, size }, frameBytes) {
  if (!tail.length && head.length <= frameBytes) {
    yield framed(head);
    return;
  }
  yield framed(encode([BEGIN, head.length, size - head.length]));
  const bytes = Buffer.concat([head, ...tail]);
  const step = frameBytes - PIECE_HEAD_BYTES;
  for (let at = 0; at < bytes.length; at += step) {
    yield framed(encode([PIECE, new Uint8Array(bytes.subarray(at, at + step))]));
  }
}

function framed(payload) {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(payload.length);
  return Buffer.concat([length, payload]);
}
