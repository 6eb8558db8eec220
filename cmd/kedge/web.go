package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/agent"
	"github.com/kedge-project/kedge/internal/detect/web"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/wording"
)

func newWebCommand(term *terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "web",
		Short: "Approve what a service's pages are, and show what differs from that",
		Long: `A service's pages (watch: pages) are compared with a release that somebody approved: script sources and the hashes of inline scripts,
frames, form targets, event handlers, refreshes, service workers, the origins that pages load from and lead to, redirects, security
headers, the certificate, and, with a browser, what scripts do after the load and the picture.

Pages are fetched as an ordinary visitor, as one who comes from a search, as a search engine's crawler and as a mobile visitor: what
only some are shown is told. Where Chromium is installed (Debian's package chromium), they are also rendered in it, unless watch: render
is false; it runs in its sandbox (what it says tells whether), as root under the account nobody, and reaches only what the release reaches.

What a page does by itself (nonces, tokens, counters, banners, variants, other news) is no difference: to approve is to look twelve times
and to learn what varies.

PCI DSS 4.0.1, 11.6.1 asks for a change- and tamper-detection mechanism for the security-impacting HTTP headers and the script contents of
payment pages as received by the consumer browser, at least weekly: approve is the authorised state, diff the evaluation as a browser
receives it (run it by a timer, weekly at the latest), its exit status and kedge agent's signals the alert, reports what consumers' own
browsers saw, and the record the evidence. Scripts of other origins are compared by their address and integrity, not by their content:
pin them with integrity (SRI).`,
		Example: `  kedge web approve --estate /etc/kedge/kedge.yaml --approver "A. Person" website
  kedge web diff --estate /etc/kedge/kedge.yaml website || mail -s "pages changed" team@example.org
  kedge web reports --estate /etc/kedge/kedge.yaml --listen 127.0.0.1:8086`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newWebApproveCommand(term), newWebDiffCommand(term), newWebReportsCommand(term))
	return cmd
}

func newWebApproveCommand(term *terminal) *cobra.Command {
	var estateFile, approver string
	cmd := &cobra.Command{
		Use:   "approve --estate FILE --approver NAME [SERVICE]...",
		Short: "Take the pages as they are now for their approved release",
		Long: `Look at every page of the services, or of all that have pages, three times as each kind of visitor, and in a browser where there is one, and
keep what they are as the approved release: signed with the record's key, in the estate's state directory, and on the record with the
approver's name. Approve when you know that the pages are clean: after a release of your own.`,
		Example: `  kedge web approve --estate /etc/kedge/kedge.yaml --approver "A. Person"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if approver == "" {
				return errors.New("nothing is approved without a name: give --approver")
			}
			return withAgent(cmd.Context(), estateFile, func(ctx context.Context, _ *estate.Estate, a *agent.Agent) error {
				approved, err := a.ApprovePages(ctx, args, approver, func(what string) { term.printf("%s", what) })
				for _, p := range approved {
					term.printf("%s: %s with %s approved by %s, release %.12s", p.Service, wording.Number(int64(p.Pages), "page"), wording.Number(int64(p.Scripts), "script"), p.Approver, p.Release)
					term.tell(struct {
						Type string `json:"message_type"`
						agent.ApprovedPages
					}{"approved", p})
				}
				return err
			})
		},
	}
	addEstateFlag(cmd, &estateFile)
	cmd.Flags().StringVar(&approver, "approver", "", "who approves: a person's name, for the record")
	return cmd
}

// errNotCompared ends a comparison that could not be made as a whole.
var errNotCompared = errors.New("not all could be compared")

func newWebDiffCommand(term *terminal) *cobra.Command {
	var estateFile string
	cmd := &cobra.Command{
		Use:   "diff --estate FILE [SERVICE]...",
		Short: "Show what differs now from the approved release, and where that was made",
		Long: `Look at every page of the services, or of all that have pages, as each kind of visitor and, if the release was approved with a browser, in
it; print what differs from the approved release, and where it was made: in a file of the document root (against the last clean
snapshot), in the database (the service itself serves it and no file changed), or on the way (the service itself, at its processes'
addresses or watch: origin, does not serve it). Where nobody approved a release, the last clean snapshot's files stand for it.

Exit status is 0 if nothing differs, 1 if something does, and 2 if not all could be compared, as of diff(1). Pictures of rendered pages
that changed are kept beside the approved ones in the state directory, 40 for a service at most.

--json prints one object: {"services":[{"service","reference":"release"|"snapshot ID"|"none","approver","approved","release","renderer","looked",
"pages":[{"url","kind":"page.defaced"|"page.injected"|"page.weakened","technique","differences":[{"what","class","strength","was","now",
"origin","file","personas":[],"rendered"}],"where":{"where":"file"|"database"|"way"|"unknown","file","snapshot","compared":[]}}],"unread":[],
"pictures":{URL:[BEFORE,AFTER]}}]}. kind is left out of a page that does not differ.`,
		Example: `  kedge web diff --estate /etc/kedge/kedge.yaml
  kedge web diff --estate /etc/kedge/kedge.yaml --json website`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runWebDiff(cmd.Context(), term, estateFile, args)
		},
	}
	addEstateFlag(cmd, &estateFile)
	return cmd
}

func runWebDiff(ctx context.Context, term *terminal, estateFile string, services []string) error {
	var all []agent.PagesDiff
	err := withAgent(ctx, estateFile, func(ctx context.Context, _ *estate.Estate, a *agent.Agent) (err error) {
		all, err = a.DiffPages(ctx, services)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errNotCompared, err)
	}
	differs, unread := false, false
	for _, d := range all {
		differs = differs || d.Differs()
		unread = unread || len(d.Unread) > 0
		printPagesDiff(term, d)
	}
	if err := term.object(map[string]any{"services": all}); err != nil {
		return err
	}
	switch {
	case unread:
		return errNotCompared
	case differs:
		return errReported
	}
	return nil
}

func printPagesDiff(term *terminal, d agent.PagesDiff) {
	reference := "the release of " + d.Approved.Format(time.RFC3339)
	if d.Approver != "" {
		reference += ", approved by " + d.Approver
	}
	if d.Reference == "none" {
		term.printf("%s: not compared: %s", d.Service, strings.Join(d.Unread, "; "))
		return
	}
	if d.Release == "" {
		reference = "the files of " + d.Reference + " (nobody approved a release)"
	}
	changed := 0
	for _, p := range d.Pages {
		if p.Kind != "" {
			changed++
		}
	}
	term.printf("%s: %d of %s differ from %s; %s", d.Service, changed, wording.Number(int64(len(d.Pages)), "page"), reference, d.Looked)
	for _, p := range d.Pages {
		if p.Kind == "" {
			continue
		}
		term.printf("  %s  %s (%s)", p.URL, p.Kind, p.Technique)
		for _, f := range p.Differences {
			term.printf("    %s", f)
		}
		if p.Where != nil {
			printPlace(term, *p.Where)
		}
		if pictures, ok := d.Pictures[p.URL]; ok {
			term.printf("    pictures: %s before, %s now", pictures[0], pictures[1])
		}
	}
	for _, what := range d.Unread {
		term.printf("  not compared: %s", what)
	}
}

func printPlace(term *terminal, place web.Place) {
	switch place.Where {
	case web.InFile:
		term.printf("    made in the file %s", place.File)
	case web.InDatabase:
		term.printf("    made in what the pages are made of: the database")
	case web.OnTheWay:
		term.printf("    made on the way to the visitors: a proxy, a delivery network, the name's address")
	default:
		term.printf("    where it was made is not known")
	}
	for _, c := range place.Compared {
		term.printf("      %s", c)
	}
}

func newWebReportsCommand(term *terminal) *cobra.Command {
	var estateFile, listen string
	cmd := &cobra.Command{
		Use:   "reports --estate FILE --listen ADDRESS",
		Short: "Take what visitors' browsers report of policy violations and false certificates",
		Long: `Serve an endpoint for Content-Security-Policy: report-uri and report-to (application/csp-report, application/reports+json) and for Network
Error Logging until SIGTERM or SIGINT. A script that was blocked and is not of the approved release raises a signal, on the record, once;
what browsers' extensions put into pages does not. Reports about a service's pages go to the path /SERVICE, or to any if one service alone has pages. Put it behind the web server:

  Content-Security-Policy: ...; report-uri /website; report-to kedge
  Reporting-Endpoints: kedge="/website"

Bodies are bounded to 64 KiB, and to two a second from one address. With --json each signal is a line.`,
		Example: "  kedge web reports --estate /etc/kedge/kedge.yaml --listen 127.0.0.1:8086",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if listen == "" {
				return errors.New("give --listen, the address to serve at, such as 127.0.0.1:8086")
			}
			return runWebReports(cmd.Context(), term, estateFile, listen)
		},
	}
	addEstateFlag(cmd, &estateFile)
	cmd.Flags().StringVar(&listen, "listen", "", "host:port to serve at")
	return cmd
}

// reportsInterval is how often reports are told.
const reportsInterval = 2 * time.Second

func runWebReports(ctx context.Context, term *terminal, estateFile, listen string) error {
	if estateFile == "" {
		return errors.New("no estate named: give --estate, or set KEDGE_ESTATE")
	}
	e, err := estate.Load(estateFile)
	if err != nil {
		return err
	}
	record := &briefRecord{estate: e, every: time.Hour, unsigned: func(err error) {
		term.warn("kedge: have the record cosigned: %v (nothing is lost: it is tried again with the next signal)", err)
	}}
	a := agent.Open(e, openBackend, record)
	defer a.Close()
	reports, err := a.PageReports(ctx)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listen for reports: %w", err)
	}
	server := &http.Server{
		Handler: reports, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(io.Discard, "", 0), // of strangers' broken connections
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() { server.Close(); <-served }()
	term.printf("takes reports at http://%s", listener.Addr())
	term.tell(map[string]string{"message_type": "listening", "address": listener.Addr().String()})
	tick := time.NewTicker(reportsInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		// The last ones are told when the command is ended, too.
		signals, err := reports.Tell(context.WithoutCancel(ctx))
		for _, s := range signals {
			term.printf("%s %s (%s) %s: %v", s.Time.Format(time.RFC3339), s.Kind, s.Technique, s.Subject, s.Evidence["what"])
			term.tell(signalLine{"signal", s})
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}
