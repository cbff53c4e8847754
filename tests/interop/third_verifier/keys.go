// signers.json, what a key counts for, hashes and signatures.
package main

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"regexp"
	"strconv"
)

type span struct {
	Shard    *int   `json:"shard"`
	FromSeq  string `json:"from_seq"`
	ToSeq    string `json:"to_seq"`
	HeadHash string `json:"head_hash"`
}

type validity struct {
	Shards *[]span `json:"shards"`
	Audit  *span   `json:"audit"`
}

type signer struct {
	Kid         string    `json:"signer_kid"`
	Algorithm   string    `json:"algorithm"`
	Pem         string    `json:"public_key_pem"`
	MacKeyID    string    `json:"mac_key_id"`
	MacCheck    string    `json:"mac_check"`
	Description string    `json:"description"`
	DeployedAt  string    `json:"deployedAt"`
	RetiredAt   string    `json:"retiredAt"`
	RevokedAt   string    `json:"revokedAt"`
	Validity    *validity `json:"validity"`
	Signs       *[]string `json:"signs"`
	key         crypto.PublicKey
}

type registry map[string]signer

// place is where a statement stands: a shard's sequence (shard -1: an audit event's), and the head there.
type place struct {
	shard int
	seq   uint64
	head  string
}

func readRegistry(data []byte) (registry, error) {
	var held struct {
		Signers []signer `json:"signers"`
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&held); err != nil {
		return nil, err
	}
	made := registry{}
	for _, one := range held.Signers {
		if _, is := made[one.Kid]; is || one.Kid == "" {
			return nil, fmt.Errorf("kid %q twice, or none", one.Kid)
		}
		if one.Algorithm != "hmac-sha256" {
			block, rest := pem.Decode([]byte(one.Pem))
			if block == nil || len(bytes.TrimSpace(rest)) > 0 {
				return nil, fmt.Errorf("%s: no PEM key", one.Kid)
			}
			key, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			algorithm := ""
			switch held := key.(type) {
			case ed25519.PublicKey:
				algorithm = "ed25519"
			case *rsa.PublicKey:
				if held.N.BitLen() >= 2048 && held.E >= 65537 {
					algorithm = "rsa-sha256"
				}
			}
			if algorithm != one.Algorithm {
				return nil, fmt.Errorf("%s: the key is not of algorithm %q", one.Kid, one.Algorithm)
			}
			one.key = key
		}
		made[one.Kid] = one
	}
	return made, nil
}

// counts says why a key does not count for a statement of this purpose, time and places; "" when it does.
func (s signer) counts(purpose, ts string, places []place) string {
	if s.Signs != nil && !contains(*s.Signs, purpose) {
		return "the key does not sign a " + purpose
	}
	if s.RetiredAt != "" && ts > s.RetiredAt {
		return "dated after the key was retired"
	}
	for _, where := range places {
		if s.Validity != nil && !s.Validity.holds(where) {
			return fmt.Sprintf("the key does not count at %+v", where)
		}
	}
	return ""
}

func (v validity) holds(where place) bool {
	if where.shard < 0 {
		return v.Audit == nil || v.Audit.holds(where)
	}
	if v.Shards == nil {
		return true
	}
	for _, one := range *v.Shards {
		if one.Shard != nil && *one.Shard == where.shard {
			return one.holds(where)
		}
	}
	return false
}

func (s span) holds(where place) bool {
	from, err := number(s.FromSeq)
	if err != nil || where.seq < from {
		return false
	}
	if s.ToSeq == "" {
		return true
	}
	to, err := number(s.ToSeq)
	return err == nil && (where.seq < to || where.seq == to && (s.HeadHash == "" || where.head == s.HeadHash))
}

// verify checks a signature over the 32 bytes of a hash; of text, a note's, RSA signs its SHA-256.
func (s signer) verify(message, signature []byte, isText bool) error {
	switch key := s.key.(type) {
	case ed25519.PublicKey:
		if ed25519.Verify(key, message, signature) {
			return nil
		}
		return fmt.Errorf("the signature is wrong")
	case *rsa.PublicKey:
		if isText {
			sum := sha256.Sum256(message)
			message = sum[:]
		}
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, message, signature)
	}
	return fmt.Errorf("a MAC: its key service alone can check it")
}

// signed checks hash and signature of a statement: its payload is everything but these names.
func (r registry) signed(held object, prev, purpose string, places []place) error {
	digest := link(encode(without(held, "hash", "signature", "cosignatures")), prev)
	if held["hash"] != digest {
		return fmt.Errorf("hash is not %s, recomputed", digest)
	}
	one, is := r[text(held, "signer_kid")]
	if !is || text(held, "alg") != one.Algorithm {
		return fmt.Errorf("no such key of that algorithm")
	}
	if why := one.counts(purpose, text(held, "ts"), places); why != "" {
		return fmt.Errorf("%s", why)
	}
	return one.signedHash(digest, text(held, "signature"))
}

func (s signer) signedHash(digest, signature string) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(signature)
	if err != nil {
		return err
	}
	message, _ := hex.DecodeString(digest)
	return s.verify(message, raw, false)
}

// link is the hash of a chain: SHA-256 of the bytes and the 32 raw bytes of the one before; prev "" is none.
func link(body, prev string) string {
	before, _ := hex.DecodeString(prev)
	sum := sha256.Sum256(append([]byte(body), before...))
	return hex.EncodeToString(sum[:])
}

var decimal = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)

// number reads a decimal text without sign or leading zero.
func number(written string) (uint64, error) {
	if !decimal.MatchString(written) {
		return 0, fmt.Errorf("%q is no decimal text", written)
	}
	return strconv.ParseUint(written, 10, 63)
}

func text(held object, name string) string {
	value, _ := held[name].(string)
	return value
}

func contains(list []string, wanted string) bool {
	for _, one := range list {
		if one == wanted {
			return true
		}
	}
	return false
}
