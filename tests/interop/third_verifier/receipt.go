// Signed checkpoints, and receipts that stand on one.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
)

const receiptBytesMax = 8192

type head struct {
	shard       string
	size, count uint64
	first, next uint64
	roots       map[string][]byte
	kids        []string
}

var note = regexp.MustCompile(`^([!-~]+/finance/[!-~]+/ledger/([0-9]+)\n([0-9]+)\n(\S{44})\nrecord ([0-9]+) ([0-9]+)\n` +
	`verdicts ([0-9]+) (\S{44})\n)\n((?:— [!-~]+ \S+\n)+)$`)

// checkpoint checks a signed note: at least one key of the registry signed it, and each of its keys counts.
func (r registry) checkpoint(signed string) (head, error) {
	parts := note.FindStringSubmatch(signed)
	if parts == nil {
		return head{}, fmt.Errorf("not the note of a checkpoint")
	}
	made := head{shard: parts[2], roots: map[string][]byte{}}
	for at, into := range map[int]*uint64{3: &made.size, 5: &made.first, 6: &made.next, 7: &made.count} {
		var err error
		if *into, err = number(parts[at]); err != nil {
			return head{}, err
		}
	}
	for at, name := range map[int]string{4: "entries", 8: "verdicts"} {
		raw, err := base64.StdEncoding.Strict().DecodeString(parts[at])
		if err != nil || len(raw) != 32 {
			return head{}, fmt.Errorf("no root: %s", parts[at])
		}
		made.roots[name] = raw
	}
	if made.next < made.first || made.size+made.count != made.next-made.first {
		return head{}, fmt.Errorf("entries and verdicts do not account for each offset")
	}
	shard, err := number(made.shard)
	if err != nil {
		return head{}, err
	}
	seen := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSuffix(parts[9], "\n"), "\n") {
		fields := strings.Split(line, " ")
		raw, err := base64.StdEncoding.Strict().DecodeString(fields[2])
		if err != nil || len(raw) < 5 || seen[fields[1]] {
			return head{}, fmt.Errorf("no signature line, or the same key twice: %s", line)
		}
		seen[fields[1]] = true
		one, is := r[fields[1]]
		if !is || one.keyID() != binary.BigEndian.Uint32(raw) {
			continue // somebody else's signature: passed over
		}
		if why := one.counts("checkpoint", "", []place{{int(shard), made.size, ""}}); why != "" {
			return head{}, fmt.Errorf("%s", why)
		}
		if err := one.verify([]byte(parts[1]), raw[4:], true); err != nil {
			return head{}, err
		}
		made.kids = append(made.kids, fields[1])
	}
	if len(made.kids) == 0 {
		return head{}, fmt.Errorf("no key of the registry signed it")
	}
	return made, nil
}

func (s signer) keyID() uint32 {
	named := append([]byte(s.Kid), '\n')
	switch key := s.key.(type) {
	case ed25519.PublicKey:
		named = append(append(named, 1), key...)
	case *rsa.PublicKey:
		der, _ := x509.MarshalPKIXPublicKey(key)
		named = append(append(append(named, 0xff), "PKIX-RSA-PKCS#1v1.5"...), der...)
	}
	sum := sha256.Sum256(named)
	return binary.BigEndian.Uint32(sum[:])
}

// receipt checks one leaf against the root of a verified checkpoint.
func (r registry) receipt(data []byte) error {
	if len(data) > receiptBytesMax {
		return fmt.Errorf("too long")
	}
	held, err := canonical(bytes.TrimSuffix(data, []byte("\n")))
	if err != nil {
		return err
	}
	if len(held) != 7 || text(held, "says") != "finance.receipt.v1" {
		return fmt.Errorf("not a receipt")
	}
	top, err := r.checkpoint(text(held, "checkpoint"))
	if err != nil {
		return err
	}
	if err := r.named(held["signers"], text(held, "checkpoint")); err != nil {
		return err
	}
	tree := text(held, "tree")
	size := map[string]uint64{"entries": top.size, "verdicts": top.count}[tree]
	index, err := number(text(held, "index"))
	if err != nil || index >= size {
		return fmt.Errorf("no leaf of that tree")
	}
	leaf := text(held, "leaf")
	if got, err := climb(leafHash(leaf), held["path"], index, size); err != nil || !bytes.Equal(got, top.roots[tree]) {
		return fmt.Errorf("the path does not lead to the root of the %s", tree)
	}
	line, err := canonical([]byte(leaf))
	if err != nil {
		return err
	}
	at := line
	if tree == "entries" {
		at, _ = line["source"].(object)
		if fmt.Sprint(line["shard"]) != top.shard || text(line, "seq") != fmt.Sprint(index+1) {
			return fmt.Errorf("the entry is of another place")
		}
	}
	if offset, err := number(text(at, "offset")); err != nil || offset < top.first || offset >= top.next {
		return fmt.Errorf("the leaf lies outside of the record")
	}
	return nil
}

// named: the keys in a receipt are those on its note, in order, and no revoked one alone.
func (r registry) named(listed any, signed string) error {
	keys, _ := listed.([]any)
	var kids []string
	whole := false
	for _, item := range keys {
		one, _ := item.(object)
		if len(one) != 3 {
			return fmt.Errorf("a signer has exactly a kid, an algorithm and a key")
		}
		kids = append(kids, text(one, "signer_kid"))
		kept, is := r[text(one, "signer_kid")]
		whole = whole || is && kept.RevokedAt == ""
		if is && (kept.Pem != text(one, "public_key_pem") || kept.Algorithm != text(one, "algorithm")) {
			return fmt.Errorf("names another key than the registry has")
		}
	}
	if strings.Count(signed, "\n— ") != len(kids) || !whole {
		return fmt.Errorf("its signers are not those on the note, or are all revoked")
	}
	for at, kid := range kids {
		if !strings.Contains(signed, "\n— "+kid+" ") || at > 0 && kids[at-1] >= kid {
			return fmt.Errorf("its signers are not those on the note, in order of kid")
		}
	}
	return nil
}

// climb follows an inclusion proof, RFC 9162, section 2.1.3.2.
func climb(hash []byte, listed any, index, size uint64) ([]byte, error) {
	path, _ := listed.([]any)
	last := size - 1
	for _, item := range path {
		written, _ := item.(string)
		beside, err := base64.StdEncoding.Strict().DecodeString(written)
		if err != nil || len(beside) != 32 || last == 0 {
			return nil, fmt.Errorf("no path")
		}
		if index&1 == 1 || index == last {
			hash = node(beside, hash)
			for index&1 == 0 && index != 0 {
				index, last = index>>1, last>>1
			}
		} else {
			hash = node(hash, beside)
		}
		index, last = index>>1, last>>1
	}
	if last != 0 {
		return nil, fmt.Errorf("the path is too short")
	}
	return hash, nil
}
