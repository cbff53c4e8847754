// Canonical JSON (docs/FORMATS.md): decode, walk, encode again, compare. JSON.stringify writes keys in the order it read
// them, so a text whose keys are sorted, whose numbers are safe integers and which comes back byte for byte is canonical.

const DEPTH_MAX = 32;
const LINE_BYTES_MAX = 8 * 1024 * 1024;
const INTEGER_LIKE = /^-?[0-9]+$/;
const ASCII = /^[\x01-\x7f]*$/;
const PLAIN = /^[\x20-\x5b\x5d-\x7e]*$/; // no escapes, no letters beyond ASCII: nothing to normalise
const UNASSIGNED_14 = unassignedOf("@@UNASSIGNED@@");

// What Unicode 14.0 has no character for, as pairs of gap and length in base 36: newer browsers know some as marks.
function unassignedOf(packed) {
  let at = 0;
  const parts = [];
  const numbers = packed.split(" ").map((text) => parseInt(text, 36));
  for (let n = 0; n + 1 < numbers.length; n += 2) {
    const first = at + numbers[n];
    at = first + numbers[n + 1];
    parts.push(`\\u{${first.toString(16)}}-\\u{${(at - 1).toString(16)}}`);
  }
  return new RegExp(`[${parts.join("")}]`, "u");
}

function isNormal(text) {
  if (!text.isWellFormed() || text.includes("\0")) return false;
  return text.split(UNASSIGNED_14).every((part) => part.normalize("NFC") === part);
}

let isPlain = false; // of the line that is walked: then its texts need no look

function walk(value, path, depth, code) {
  if (typeof value === "string") {
    if (!isPlain && !isNormal(value)) throw new Fault(code, "a text that is not in normal form NFC, or holds NUL", path);
  } else if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) throw new Fault(code, "a number that is no integer within 2^53", path);
  } else if (value !== null && typeof value === "object") {
    if (depth >= DEPTH_MAX) throw new Fault(code, `nested deeper than ${DEPTH_MAX} levels`, path.slice(0, 80));
    if (Array.isArray(value)) {
      for (let n = 0; n < value.length; n += 1) walk(value[n], `${path}[${n}]`, depth + 1, code);
      return;
    }
    let before = null;
    for (const key in value) {
      const here = path ? `${path}.${key}` : key;
      if (!ASCII.test(key) || INTEGER_LIKE.test(key)) throw new Fault(code, "a key that no object may have", here);
      if (before !== null && key <= before) throw new Fault(code, "keys are not in their order", here);
      before = key;
      walk(value[key], here, depth + 1, code);
    }
  }
}

function canonicalObject(bytes, code, bytesMax = LINE_BYTES_MAX) {
  if (bytes.length > bytesMax) throw new Fault(code, `longer than ${bytesMax} bytes`);
  const text = textOf(bytes, code);
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Fault(code, "this is not JSON");
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Fault(code, "no JSON object");
  isPlain = PLAIN.test(text);
  walk(value, "", 0, code);
  const again = JSON.stringify(value);
  if (again !== text) {
    const twice = fieldTwice(text);
    if (twice !== null) throw new Fault(code, "a field that stands twice", twice);
    let at = 0;
    while (again[at] === text[at]) at += 1;
    const field = (text.slice(0, at + 1).match(/"([^"\\]{1,80})":[^:]*$/) || [null, null])[1];
    throw new Fault(code, `not canonical JSON: another spelling at character ${at}`, field);
  }
  return value;
}

function fieldTwice(text) {
  try {
    looseObject(text, "json");
    return null;
  } catch (fault) {
    return fault.twice || null;
  }
}

const canonicalBytes = (value) => utf8.encode(JSON.stringify(value));

// JSON in any spelling (signers.json is written for people): no key twice, bounded depth.
function looseObject(text, code) {
  let at = 0;
  const blank = /[ \t\n\r]*/y;
  const scalar = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9][0-9]*)(?![0-9.eE])|true|false|null/y;
  const skip = () => {
    blank.lastIndex = at;
    blank.test(text);
    at = blank.lastIndex;
  };
  const bad = () => new Fault(code, `this is not JSON at character ${at}`);
  const take = (letter) => {
    skip();
    if (text[at] !== letter) return false;
    at += 1;
    return true;
  };
  const leaf = () => {
    scalar.lastIndex = at;
    const found = scalar.exec(text);
    if (found === null) throw bad();
    at = scalar.lastIndex;
    return JSON.parse(found[0]);
  };
  const read = (depth) => {
    if (depth > DEPTH_MAX) throw new Fault(code, `nested deeper than ${DEPTH_MAX} levels`);
    if (take("{")) {
      const made = Object.create(null);
      if (take("}")) return made;
      do {
        skip();
        if (text[at] !== '"') throw bad();
        const key = leaf();
        if (key in made) throw Object.assign(new Fault(code, "a field that stands twice", key), { twice: key });
        if (!take(":")) throw bad();
        made[key] = read(depth + 1);
      } while (take(","));
      if (!take("}")) throw bad();
      return made;
    }
    if (take("[")) {
      const made = [];
      if (take("]")) return made;
      do made.push(read(depth + 1)); while (take(","));
      if (!take("]")) throw bad();
      return made;
    }
    return leaf();
  };
  const value = read(0);
  skip();
  if (at !== text.length) throw bad();
  return value;
}
