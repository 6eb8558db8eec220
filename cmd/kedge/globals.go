package main

import (
	"runtime"

	"github.com/spf13/cobra"
)

// addLeadingFlags lets the flags of repositories that take no value stand before the command too, as in
// "kedge --no-lock snapshots": to the root they are hidden, and the command reads them. Those that take a value may stand
// there anyway.
func addLeadingFlags(root *cobra.Command) {
	for _, name := range []string{"no-lock", "no-cache", "cleanup-cache", "insecure-tls", "insecure-no-password"} {
		flags := root.PersistentFlags()
		flags.Bool(name, false, "")
		_ = flags.MarkHidden(name) // it is there
	}
}

func newVersionCommand(term *terminal) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  kedge version\n  kedge version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			term.printf("kedge %s compiled with %s on %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return term.object(map[string]string{
				"message_type": "version", "version": version, "go_version": runtime.Version(), "go_os": runtime.GOOS, "go_arch": runtime.GOARCH,
			})
		},
	}
}
