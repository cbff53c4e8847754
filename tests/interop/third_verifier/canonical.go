// Canonical JSON of docs/FORMATS.md: a reader that takes its one spelling and nothing else.
package main

import (
	"bytes"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"unicode/utf8"
)

const maxDepth = 32
const maxInteger = 1<<53 - 1

var integer = regexp.MustCompile(`^-?(0|[1-9][0-9]*)`)

type object = map[string]any

type reader struct {
	data []byte
	at   int
}

// canonical reads one object that fills the bytes. NFC is not asked for: a hash over the very bytes is.
func canonical(data []byte) (object, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("not UTF-8")
	}
	r := &reader{data: data}
	value, err := r.value(0)
	if err != nil {
		return nil, fmt.Errorf("at byte %d: %w", r.at, err)
	}
	held, is := value.(object)
	if !is || r.at != len(data) {
		return nil, fmt.Errorf("not one object")
	}
	return held, nil
}

func (r *reader) take(text string) bool {
	if bytes.HasPrefix(r.data[r.at:], []byte(text)) {
		r.at += len(text)
		return true
	}
	return false
}

func (r *reader) value(depth int) (any, error) {
	switch {
	case depth > maxDepth:
		return nil, fmt.Errorf("nested too deep")
	case r.take("null"):
		return nil, nil
	case r.take("true"):
		return true, nil
	case r.take("false"):
		return false, nil
	case r.take(`"`):
		return r.text()
	case r.take("["):
		return r.list(depth)
	case r.take("{"):
		return r.object(depth)
	}
	digits := integer.Find(r.data[r.at:])
	number, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || string(digits) == "-0" || number > maxInteger || number < -maxInteger {
		return nil, fmt.Errorf("no value of canonical JSON")
	}
	r.at += len(digits)
	return number, nil
}

func (r *reader) list(depth int) (any, error) {
	made := []any{}
	for !r.take("]") {
		if len(made) > 0 && !r.take(",") {
			return nil, fmt.Errorf("no comma")
		}
		value, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		made = append(made, value)
	}
	return made, nil
}

func (r *reader) object(depth int) (any, error) {
	made, last := object{}, ""
	for !r.take("}") {
		if len(made) > 0 && !r.take(",") {
			return nil, fmt.Errorf("no comma")
		}
		if !r.take(`"`) {
			return nil, fmt.Errorf("no key")
		}
		key, err := r.text()
		if err != nil {
			return nil, err
		}
		if len(made) > 0 && key <= last { // keys are ASCII, so bytes sort as UTF-16 does
			return nil, fmt.Errorf("key %q is not behind %q", key, last)
		}
		if !r.take(":") {
			return nil, fmt.Errorf("no colon")
		}
		if made[key], err = r.value(depth + 1); err != nil {
			return nil, err
		}
		last = key
	}
	return made, nil
}

// text reads up to the closing quote; only `"`, `\` and controls are escaped, each in its one way.
func (r *reader) text() (string, error) {
	var made []byte
	for r.at < len(r.data) {
		c := r.data[r.at]
		r.at++
		switch {
		case c == '"':
			return string(made), nil
		case c < 0x20:
			return "", fmt.Errorf("a control character")
		case c == '\\':
			read, err := r.escape()
			if err != nil {
				return "", err
			}
			made = append(made, read)
		default:
			made = append(made, c)
		}
	}
	return "", fmt.Errorf("a text without an end")
}

func (r *reader) escape() (byte, error) {
	for short, c := range map[string]byte{`"`: '"', `\`: '\\', "b": 8, "t": 9, "n": 10, "f": 12, "r": 13} {
		if r.take(short) {
			return c, nil
		}
	}
	for c := byte(1); c < 0x20; c++ {
		if c < 8 || c == 11 || c > 13 {
			if r.take(fmt.Sprintf("u%04x", c)) {
				return c, nil
			}
		}
	}
	return 0, fmt.Errorf("an escape of another spelling")
}

// encode writes an object that was read by canonical, for the parts of it that are hashed.
func encode(value any) string {
	var out bytes.Buffer
	write(&out, value)
	return out.String()
}

func write(out *bytes.Buffer, value any) {
	switch held := value.(type) {
	case nil:
		out.WriteString("null")
	case bool, int64:
		fmt.Fprint(out, held)
	case string:
		quote(out, held)
	case []any:
		for number, item := range held {
			out.WriteString(map[bool]string{true: "[", false: ","}[number == 0])
			write(out, item)
		}
		out.WriteString(map[bool]string{true: "[]", false: "]"}[len(held) == 0])
	case object:
		for number, key := range sortedKeys(held) {
			out.WriteString(map[bool]string{true: "{", false: ","}[number == 0])
			quote(out, key)
			out.WriteString(":")
			write(out, held[key])
		}
		out.WriteString(map[bool]string{true: "{}", false: "}"}[len(held) == 0])
	}
}

func quote(out *bytes.Buffer, text string) {
	short := map[rune]string{'"': `\"`, '\\': `\\`, 8: `\b`, 9: `\t`, 10: `\n`, 12: `\f`, 13: `\r`}
	out.WriteByte('"')
	for _, c := range text {
		if escaped, is := short[c]; is {
			out.WriteString(escaped)
		} else if c < 0x20 {
			fmt.Fprintf(out, `\u%04x`, c)
		} else {
			out.WriteRune(c)
		}
	}
	out.WriteByte('"')
}

func sortedKeys(held object) []string {
	keys := make([]string, 0, len(held))
	for key := range held {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// without is the object less some of its fields.
func without(held object, names ...string) object {
	made := object{}
	for key, value := range held {
		made[key] = value
	}
	for _, name := range names {
		delete(made, name)
	}
	return made
}
