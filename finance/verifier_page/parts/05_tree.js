// RFC 6962: leaves, nodes, a tree that grows in logarithmic memory, and proofs by RFC 9162 2.1.3.2 and 2.1.4.2.

const ZERO = Uint8Array.of(0);
const ONE = Uint8Array.of(1);
const leafHash = (leaf) => sha256(ZERO, leaf);
const nodeHash = (left, right) => sha256(ONE, left, right);
const EMPTY_ROOT = sha256();

class GrowingTree {
  constructor(size = 0, peaks = []) {
    this.size = size;
    this.peaks = peaks; // of full trees, the greatest first
  }

  append(hash) {
    let size = this.size;
    for (; size % 2 === 1; size = Math.floor(size / 2)) hash = nodeHash(this.peaks.pop(), hash);
    this.peaks.push(hash);
    this.size += 1;
  }

  root() {
    if (this.size === 0) return EMPTY_ROOT;
    return this.peaks.reduceRight((right, left) => (right === null ? left : nodeHash(left, right)), null);
  }
}

function rootByInclusion(index, size, leaf, path) {
  if (index >= size || path.length > 64) return null;
  let fn = BigInt(index);
  let sn = BigInt(size) - 1n;
  let root = leaf;
  for (const hash of path) {
    if (sn === 0n) return null;
    if ((fn & 1n) === 1n || fn === sn) {
      root = nodeHash(hash, root);
      while ((fn & 1n) === 0n && fn !== 0n) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else {
      root = nodeHash(root, hash);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  return sn === 0n ? root : null;
}

// The tree of `from` leaves, out of the consistency proof to `to`: null when the proof does not hold.
function treeByConsistency(from, to, path, oldRoot, newRoot) {
  if (from > to || path.length > 128) return null;
  if (from === 0) return path.length === 0 && same(oldRoot, EMPTY_ROOT) ? new GrowingTree() : null;
  const isPower = (BigInt(from) & (BigInt(from) - 1n)) === 0n;
  if (from === to) {
    if (path.length > 0 || !same(oldRoot, newRoot)) return null;
    return isPower ? new GrowingTree(from, [oldRoot]) : { size: from, root: () => oldRoot, append: null };
  }
  const hashes = isPower ? [oldRoot, ...path] : path;
  if (hashes.length === 0) return null;
  let fn = BigInt(from) - 1n;
  let sn = BigInt(to) - 1n;
  for (; (fn & 1n) === 1n; fn >>= 1n) sn >>= 1n;
  let [old, now] = [hashes[0], hashes[0]];
  const peaks = [hashes[0]];
  for (const hash of hashes.slice(1)) {
    if (sn === 0n) return null;
    if ((fn & 1n) === 1n || fn === sn) {
      old = nodeHash(hash, old);
      now = nodeHash(hash, now);
      peaks.unshift(hash);
      while ((fn & 1n) === 0n && fn !== 0n) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else {
      now = nodeHash(now, hash);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  return sn === 0n && same(old, oldRoot) && same(now, newRoot) ? new GrowingTree(from, peaks) : null;
}
