// Shapes: the published JSON Schemas (schemas/json), compiled into functions. Only the words that these schemas use are
// known, and one that is not is a fault of the page at its start, not of a file.

const SHAPE_WORDS = new Set([
  "$schema", "$id", "$defs", "$ref", "title", "description", "type", "const", "enum", "pattern", "minLength",
  "maxLength", "minimum", "maximum", "minItems", "maxItems", "required", "properties", "additionalProperties",
  "propertyNames", "items", "anyOf", "oneOf", "not",
]);
const TYPES = {
  object: (v) => v !== null && typeof v === "object" && !Array.isArray(v),
  array: Array.isArray,
  string: (v) => typeof v === "string",
  integer: Number.isSafeInteger,
  boolean: (v) => typeof v === "boolean",
  null: (v) => v === null,
};

// A compiled shape answers null, or [field, what is wrong].
function compiled(shape, root) {
  for (const word of Object.keys(shape)) if (!SHAPE_WORDS.has(word)) throw new Error(`unknown word ${word}`);
  if (shape.$ref) return compiled({ ...root.$defs[shape.$ref.slice("#/$defs/".length)], ...without(shape, "$ref") }, root);
  const checks = [];
  const when = (word, make) => shape[word] !== undefined && checks.push(make(shape[word]));
  const holds = (test, words) => (v, path) => (test(v) ? null : [path, words]);
  when("type", (type) => holds(TYPES[type], `is not of type ${type}`));
  when("const", (value) => holds((v) => v === value, `is not ${JSON.stringify(value)}`));
  when("enum", (values) => holds((v) => values.includes(v), `is none of ${values.join(", ")}`));
  when("pattern", (pattern) => {
    const form = new RegExp(pattern, "u");
    return holds((v) => typeof v !== "string" || form.test(v), "has another form than this field has");
  });
  when("minLength", (n) => holds((v) => typeof v !== "string" || v.length >= n, "is too short"));
  when("maxLength", (n) => holds((v) => typeof v !== "string" || v.length <= n, "is too long"));
  when("minimum", (n) => holds((v) => typeof v !== "number" || v >= n, "is too small"));
  when("maximum", (n) => holds((v) => typeof v !== "number" || v <= n, "is too great"));
  when("minItems", (n) => holds((v) => !Array.isArray(v) || v.length >= n, "has too few items"));
  when("maxItems", (n) => holds((v) => !Array.isArray(v) || v.length <= n, "has too many items"));
  when("anyOf", (shapes) => anyOf(shapes.map((each) => compiled(each, root)), 1, Infinity));
  when("oneOf", (shapes) => anyOf(shapes.map((each) => compiled(each, root)), 1, 1));
  when("not", (other) => {
    const check = compiled(other, root);
    return (v, path) => (check(v, path) === null ? [path, "has a value that it must not have"] : null);
  });
  if (shape.required || shape.properties || shape.additionalProperties !== undefined) checks.push(fields(shape, root));
  when("propertyNames", (names) => {
    const check = compiled(names, root);
    return (v, path) => Object.keys(v).reduce((bad, key) => bad || check(key, `${path}.${key}`), null);
  });
  return (v, path) => {
    for (const check of checks) {
      const bad = check(v, path);
      if (bad !== null) return bad;
    }
    return null;
  };
}

function without(object, ...names) {
  const left = { ...object };
  for (const name of names) delete left[name];
  return left;
}

function anyOf(checks, least, most) {
  return (v, path) => {
    let good = 0;
    let first = null;
    for (const check of checks) {
      const bad = check(v, path);
      if (bad === null) good += 1;
      else first = first || bad;
    }
    return good >= least && good <= most ? null : first || [path, "fits two forms at once"];
  };
}

function fields(shape, root) {
  const known = new Map(Object.entries(shape.properties || {}).map(([name, each]) => [name, shapeOf(each, root)]));
  const required = shape.required || [];
  const more = shape.additionalProperties;
  const rest = more !== null && typeof more === "object" ? shapeOf(more, root) : null;
  return (v, path) => {
    if (!TYPES.object(v)) return null;
    const at = (name) => (path ? `${path}.${name}` : name);
    for (const name of required) if (!Object.hasOwn(v, name)) return [at(name), "is missing"];
    for (const name in v) {
      const check = known.get(name) || rest;
      if (check) {
        const bad = check(v[name], at(name));
        if (bad !== null) return bad;
      } else if (more === false) return [at(name), "is a field that this form does not have"];
    }
    return null;
  };
}

function shapeOf(shape, root) {
  if (!shape.items) return compiled(shape, root);
  const check = compiled(without(shape, "items"), root);
  const each = shapeOf(shape.items, root);
  return (v, path) => {
    const bad = check(v, path);
    if (bad !== null) return bad;
    for (let n = 0; n < v.length; n += 1) {
      const inside = each(v[n], `${path}[${n}]`);
      if (inside !== null) return inside;
    }
    return null;
  };
}

const SCHEMAS = "@@SCHEMAS@@";
const SHAPES = Object.fromEntries(Object.entries(SCHEMAS).map(([name, shape]) => [name, shapeOf(shape, shape)]));

function shaped(value, name, code) {
  const bad = SHAPES[name](value, "");
  if (bad !== null) throw new Fault(code, `${bad[0] || "it"} ${bad[1]}`, bad[0] || null);
  return value;
}

const TIME = /^([0-9]{4})-([0-9]{2})-([0-9]{2})T/;

function isDay(text) {
  const [, year, month, day] = TIME.exec(text).map(Number);
  return day <= new Date(Date.UTC(2000 + (year % 400), month, 0)).getUTCDate() && year > 0;
}

// A sequence, an offset or a count: what a topic can hold stays exact here.
function whole(text, code, field) {
  if (text.length > 15) throw new Fault(code, `${field} is beyond what a record can hold`, field);
  return Number(text);
}

// Control and bidirectional characters as escapes that a reader sees.
function visible(text) {
  return String(text).replace(/[\p{C}\p{Zl}\p{Zp}\u00ad\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0]/gu, (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`);
}
