// Command ociimage writes an OCI image layout FROM scratch, without a container engine, to the same bytes every time.
//
//	ociimage -o build/image/store -name lan-chat/store:1.0.0 -user 65532 -file /store=build/linux-amd64/store -- /store
//
// It is for the CI runner: none needs Docker, root rights or a base image from somewhere else. deploy/Dockerfile makes
// the same image where there is an engine.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

const oci = "application/vnd.oci.image"

type pairs []string

func (p *pairs) String() string { return strings.Join(*p, " ") }

func (p *pairs) Set(value string) error {
	*p = append(*p, value)
	if !strings.HasPrefix(value, "/") || strings.Count(value, "=") != 1 {
		return errors.New("write /PATH/IN/IMAGE=SOURCE")
	}
	return nil
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("ociimage: ")
	var files, dirs pairs
	out := flag.String("o", "", "directory of the layout; it is replaced")
	name := flag.String("name", "", "NAME:TAG of the image")
	arch := flag.String("arch", "amd64", "architecture, as Go names it")
	user := flag.Int("user", 65532, "the user id that the image runs as")
	licences := flag.String("licences", "Apache-2.0", "SPDX expression")
	flag.Var(&files, "file", "/PATH=SOURCE, a file or a directory; may be repeated")
	flag.Var(&dirs, "dir", "/PATH=UID, an empty directory of that user; may be repeated")
	flag.Parse()
	if *out == "" || !strings.Contains(*name, ":") || flag.NArg() == 0 || len(files) == 0 {
		log.Fatal("usage: ociimage -o DIR -name NAME:TAG -file /PATH=SOURCE … -- ENTRYPOINT …")
	}
	layer, err := pack(files, dirs)
	if err == nil {
		err = write(*out, *name, *arch, *user, *licences, flag.Args(), layer)
	}
	if err != nil {
		log.Fatal(err)
	}
}

type entry struct {
	source string // "" is a directory
	uid    int
}

// pack returns an uncompressed layer: sorted, of root, without times. Waybill compresses layers itself.
func pack(files, dirs pairs) ([]byte, error) {
	entries := map[string]entry{}
	for _, pair := range files {
		target, source, _ := strings.Cut(pair, "=")
		err := filepath.WalkDir(source, func(name string, item fs.DirEntry, err error) error {
			if err != nil || item.IsDir() {
				return err
			}
			inside, err := filepath.Rel(source, name)
			entries[path.Join(target, filepath.ToSlash(inside))] = entry{source: name}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	for _, pair := range dirs {
		target, text, _ := strings.Cut(pair, "=")
		uid, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		entries[path.Clean(target)] = entry{uid: uid}
	}
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	for _, name := range names {
		for parent := path.Dir(name); parent != "/"; parent = path.Dir(parent) {
			if _, known := entries[parent]; !known {
				entries[parent] = entry{}
				names = append(names, parent)
			}
		}
	}
	sort.Strings(names)
	var data bytes.Buffer
	archive := tar.NewWriter(&data)
	for _, name := range names {
		if err := add(archive, name, entries[name]); err != nil {
			return nil, err
		}
	}
	err := archive.Close() // writes the end of the archive
	return data.Bytes(), err
}

func add(archive *tar.Writer, name string, item entry) error {
	header := tar.Header{Name: name[1:], Format: tar.FormatUSTAR, ModTime: time.Unix(0, 0), Uid: item.uid, Gid: item.uid}
	if item.source == "" {
		header.Typeflag, header.Name, header.Mode = tar.TypeDir, header.Name+"/", 0o755
		if item.uid != 0 {
			header.Mode = 0o700
		}
		return archive.WriteHeader(&header)
	}
	data, err := os.ReadFile(item.source)
	if err != nil {
		return err
	}
	about, err := os.Stat(item.source)
	if err != nil {
		return err
	}
	header.Typeflag, header.Size, header.Mode = tar.TypeReg, int64(len(data)), 0o644
	if about.Mode()&0o100 != 0 {
		header.Mode = 0o755
	}
	if err := archive.WriteHeader(&header); err != nil {
		return err
	}
	_, err = archive.Write(data)
	return err
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    map[string]string `json:"platform,omitempty"`
}

// write makes the layout under another name and renames it: what is there is complete.
func write(out, name, arch string, user int, licences string, entrypoint []string, layer []byte) error {
	fresh := out + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(fresh, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	put := func(kind string, data []byte) (descriptor, error) {
		sum := sha256.Sum256(data)
		digest := hex.EncodeToString(sum[:])
		return descriptor{MediaType: oci + kind, Digest: "sha256:" + digest, Size: len(data)},
			os.WriteFile(filepath.Join(fresh, "blobs", "sha256", digest), data, 0o644)
	}
	putJSON := func(kind string, document any) (descriptor, error) {
		data, err := json.Marshal(document) // maps are sorted
		if err != nil {
			return descriptor{}, err
		}
		return put(kind, data)
	}
	packed, err := put(".layer.v1.tar", layer)
	if err != nil {
		return err
	}
	version := name[strings.LastIndex(name, ":")+1:]
	config, err := putJSON(".config.v1+json", map[string]any{
		"architecture": arch,
		"os":           "linux",
		"config": map[string]any{
			"User":       fmt.Sprintf("%d:%d", user, user),
			"Entrypoint": entrypoint,
			"Labels": map[string]string{
				"org.opencontainers.image.licenses": licences,
				"org.opencontainers.image.version":  version,
			},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{packed.Digest}},
	})
	if err != nil {
		return err
	}
	manifest, err := putJSON(".manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": oci + ".manifest.v1+json", "config": config, "layers": []descriptor{packed},
	})
	if err != nil {
		return err
	}
	manifest.Platform = map[string]string{"architecture": arch, "os": "linux"}
	manifest.Annotations = map[string]string{"org.opencontainers.image.ref.name": name}
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": oci + ".index.v1+json", "manifests": []descriptor{manifest},
	})
	if err != nil {
		return err
	}
	for file, data := range map[string][]byte{"index.json": index, "oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)} {
		if err := os.WriteFile(filepath.Join(fresh, file), data, 0o644); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	return os.Rename(fresh, out)
}
