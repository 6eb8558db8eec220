package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/exercise"
	"github.com/kedge-project/kedge/internal/wording"
)

type exerciseFlags struct {
	dir   string
	keep  bool
	only  string
	seed  uint64
	scale float64
	fault string
}

func newExerciseCommand(term *terminal) *cobra.Command {
	var flags exerciseFlags
	cmd := &cobra.Command{
		Use:   "exercise",
		Short: "Run the whole story on an example estate: attacked, contained, recovered, proven",
		Long: `Build an example organisation out of real software (PostgreSQL, nginx, Dovecot, Exim, 20,000
files) on loopback ports, protect it, attack it, notice, contain, investigate, recover, and
prove byte by byte what came back. Ends with a result and the path of a report.

Stages: ` + strings.Join(exercise.StageNames(), ", ") + `.

Nothing outside the exercise's directory is touched. As root, everything runs as the user who
called sudo, else as nobody. What is left when it ends: both repositories, the record, the
status page and the reports; the next exercise in the same directory replaces them.`,
		Example: `  kedge exercise
  kedge exercise --only drill            stop after the drill
  kedge exercise --keep --dir /srv/try   keep the live data too, to look at
  kedge exercise --fault copy            flip one bit of the second site's copy: the drill must fail
  kedge exercise --json | tail -n 1      the result alone`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runExercise(cmd, term, &flags)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.dir, "dir", "", "directory to work in (default: kedge-exercise-UID in the directory for temporary files)")
	f.BoolVar(&flags.keep, "keep", false, "keep the live data as well when it ends")
	f.StringVar(&flags.only, "only", "", "run this stage and those it needs")
	f.Uint64Var(&flags.seed, "seed", 1, "seed of everything that is made up")
	f.Float64Var(&flags.scale, "scale", 1, "size of the estate: 1 is 20,000 files, 1 GB, 200,000 rows")
	f.StringVar(&flags.fault, "fault", "", fmt.Sprintf("make one thing go wrong, to see the exercise fail: %v", exercise.Faults))
	return cmd
}

func runExercise(cmd *cobra.Command, term *terminal, flags *exerciseFlags) error {
	user, err := exerciseUser()
	if err != nil {
		return err
	}
	dir := flags.dir
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "kedge-exercise-"+strconv.Itoa(user.uid))
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("resolve %s: %w", flags.dir, err)
	}
	if err := user.become(dir); err != nil {
		return err
	}
	result, err := exercise.Run(cmd.Context(), exercise.Options{
		Dir: dir, Keep: flags.keep, Only: flags.only, Seed: flags.seed, Scale: flags.scale, Fault: exercise.Fault(flags.fault),
		OpenBackend: openBackend,
		Report:      func(u exercise.Update) { printUpdate(term, u) },
	})
	if err != nil {
		return fmt.Errorf("exercise: %w", err)
	}
	if err := term.object(result); err != nil {
		return err
	}
	printExercise(term, result)
	if result.Result == "failed" {
		return errReported
	}
	return nil
}

func printUpdate(term *terminal, u exercise.Update) {
	if term.json {
		// A line that cannot be printed is noticed at the result, which is printed the same way.
		_ = term.object(u)
		return
	}
	switch u.State {
	case exercise.Progress:
		term.progress("%-12s %6.1f s  %s", u.Stage, u.Seconds, u.Text)
	case exercise.Noted:
		if !term.quiet {
			term.printf("%-12s           %s", "", u.Text)
		}
	case exercise.Finished:
		term.printf("%-12s %6.1f s  %s", u.Stage, u.Seconds, u.Text)
	case exercise.Failed:
		term.printf("%-12s %6.1f s  failed: %s", u.Stage, u.Seconds, u.Text)
	}
}

func printExercise(term *terminal, r exercise.Result) {
	term.printf("")
	if r.Result == "failed" {
		term.printf("failed in %.1f s: %s", r.Seconds, r.Reason)
	} else {
		term.printf("%s in %.1f s: %d files damaged, %d lost, %d rows lost, %s rewritten, %d failed probes", r.Result, r.Seconds,
			r.FilesDamaged, r.FilesLost, r.RowsLost, wording.Size(r.BytesRewritten), r.FailedProbes)
	}
	if r.Report != "" {
		term.printf("report: %s", r.Report)
	}
}

// unprivileged is who an exercise runs as.
type unprivileged struct {
	uid, gid int
	change   bool // the process is root and must become this user
}

// nobody is the user and group ID that Debian and most other systems give to nobody.
const nobody = 65534

// exerciseUser chooses: whoever runs kedge; for root, who called sudo, else nobody.
func exerciseUser() (unprivileged, error) {
	if os.Geteuid() != 0 {
		return unprivileged{uid: os.Getuid(), gid: os.Getgid()}, nil
	}
	user := unprivileged{uid: nobody, gid: nobody, change: true}
	uid, gid := os.Getenv("SUDO_UID"), os.Getenv("SUDO_GID")
	if uid == "" || uid == "0" {
		return user, nil
	}
	var err error
	if user.uid, err = strconv.Atoi(uid); err == nil {
		user.gid, err = strconv.Atoi(gid)
	}
	if err != nil || user.uid <= 0 || user.gid <= 0 {
		return unprivileged{}, errors.New("SUDO_UID and SUDO_GID name no user: unset them, or run as the user yourself")
	}
	return user, nil
}
