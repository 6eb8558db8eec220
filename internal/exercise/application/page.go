package application

import (
	"bytes"
	"html/template"
	"net/http"
)

// layout is the frame that the pages of all applications share.
const layout = `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{{.Title}}</title>
<style>body{font-family:sans-serif;margin:2em auto;max-width:60em;color:#123}table{border-collapse:collapse}
td,th{padding:.2em .8em;border-bottom:1px solid #ccd;text-align:left}</style></head>
<body><h1>{{.Title}}</h1>
{{block "content" .Content}}{{end}}
</body></html>
`

// view is one kind of page: the layout with a content of its own.
type view struct{ t *template.Template }

func newView(content string) view {
	t := template.Must(template.New("page").Parse(layout))
	return view{template.Must(t.Parse(`{{define "content"}}` + content + `{{end}}`))}
}

// show writes the page. Nothing is sent before the whole page is made.
func (v view) show(w http.ResponseWriter, status int, title string, content any) {
	var buf bytes.Buffer
	if err := v.t.Execute(&buf, struct {
		Title   string
		Content any
	}{title, content}); err != nil {
		http.Error(w, "the page could not be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(buf.Bytes()) // a reader that has gone away needs no answer
}
