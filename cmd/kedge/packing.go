package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/kedge-project/kedge/repo"
)

// packingFlags say how what a command stores is put into files.
type packingFlags struct {
	compression string
	packSize    string // MiB; "" is the default
}

// The sizes of packs that restic allows, in MiB.
const (
	packSizeMin = 4
	packSizeMax = 128
)

func (f *packingFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.compression, "compression", environment("COMPRESSION"), "how hard to compress: auto, off, fastest, better or max; repositories of version 1 never are ($RESTIC_COMPRESSION)")
	flags.StringVar(&f.packSize, "pack-size", environment("PACK_SIZE"), "`MiB` at which a pack is full, 4 to 128; larger ones are fewer files (default 16; $RESTIC_PACK_SIZE)")
}

// apply puts what the flags say into the options of a repository.
func (f *packingFlags) apply(opt *repo.Options) error {
	switch c := repo.Compression(f.compression); c {
	case "", repo.CompressionAuto, repo.CompressionOff, repo.CompressionFastest, repo.CompressionBetter, repo.CompressionMax:
		opt.Compression = c
	default:
		return fmt.Errorf("--compression %.40q is not known: choose auto, off, fastest, better or max", f.compression)
	}
	if f.packSize == "" || f.packSize == "0" { // 0 is restic's word for the default
		return nil
	}
	size, err := strconv.Atoi(f.packSize)
	if err != nil || size < packSizeMin || size > packSizeMax {
		return fmt.Errorf("--pack-size %.40q: give %d to %d, in MiB", f.packSize, packSizeMin, packSizeMax)
	}
	opt.PackSize = size << 20
	return nil
}
