package document

import (
	"fmt"
	"strings"
)

const (
	drawing      = "http://schemas.openxmlformats.org/drawingml/2006/main"
	presentation = "http://schemas.openxmlformats.org/presentationml/2006/main"
	// slideSpaces are the namespaces that every part of a presentation declares.
	slideSpaces = `xmlns:a="` + drawing + `" xmlns:r="` + officeDocument + `" xmlns:p="` + presentation + `"`
	// groupShape opens a shape tree: the group that holds all shapes, without a place of its own.
	groupShape = `<p:nvGrpSpPr><p:cNvPr id="1" name=""/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>`
)

// Slides returns the text as a .pptx file, one slide for each section.
func Slides(t Text) ([]byte, error) {
	overrides := [][2]string{
		{"/ppt/presentation.xml", ooxmlPrefix + "presentationml.presentation.main+xml"},
		{"/ppt/slideMasters/slideMaster1.xml", ooxmlPrefix + "presentationml.slideMaster+xml"},
		{"/ppt/slideLayouts/slideLayout1.xml", ooxmlPrefix + "presentationml.slideLayout+xml"},
		{"/ppt/theme/theme1.xml", ooxmlPrefix + "theme+xml"},
	}
	relations := [][2]string{{"slideMaster", "slideMasters/slideMaster1.xml"}}
	var list strings.Builder
	var slides []part
	for i, s := range t.Sections {
		name := fmt.Sprintf("slides/slide%d.xml", i+1)
		overrides = append(overrides, [2]string{"/ppt/" + name, ooxmlPrefix + "presentationml.slide+xml"})
		relations = append(relations, [2]string{"slide", name})
		fmt.Fprintf(&list, `<p:sldId id="%d" r:id="rId%d"/>`, 256+i, i+2)
		slides = append(slides,
			part{"ppt/" + name, slide(s, tag(t.Language))},
			relsPart(fmt.Sprintf("ppt/slides/_rels/slide%d.xml.rels", i+1), [][2]string{{"slideLayout", "../slideLayouts/slideLayout1.xml"}}),
		)
	}
	deck := xmlHead + `<p:presentation ` + slideSpaces + `><p:sldMasterIdLst><p:sldMasterId id="2147483648" r:id="rId1"/></p:sldMasterIdLst>` +
		`<p:sldIdLst>` + list.String() + `</p:sldIdLst><p:sldSz cx="9144000" cy="6858000"/><p:notesSz cx="6858000" cy="9144000"/></p:presentation>`
	master := xmlHead + `<p:sldMaster ` + slideSpaces + `><p:cSld><p:spTree>` + groupShape + `</p:spTree></p:cSld>` +
		`<p:clrMap bg1="lt1" tx1="dk1" bg2="lt2" tx2="dk2" accent1="accent1" accent2="accent2" accent3="accent3" accent4="accent4" ` +
		`accent5="accent5" accent6="accent6" hlink="hlink" folHlink="folHlink"/>` +
		`<p:sldLayoutIdLst><p:sldLayoutId id="2147483649" r:id="rId1"/></p:sldLayoutIdLst></p:sldMaster>`
	layout := xmlHead + `<p:sldLayout ` + slideSpaces + ` type="blank"><p:cSld name="Blank"><p:spTree>` + groupShape +
		`</p:spTree></p:cSld><p:clrMapOvr><a:masterClrMapping/></p:clrMapOvr></p:sldLayout>`
	parts := []part{
		typesPart(overrides),
		rootRels("ppt/presentation.xml"),
		corePart(t.Title, t.Author, t.Created),
		{"ppt/presentation.xml", deck},
		relsPart("ppt/_rels/presentation.xml.rels", relations),
		{"ppt/slideMasters/slideMaster1.xml", master},
		relsPart("ppt/slideMasters/_rels/slideMaster1.xml.rels", [][2]string{
			{"slideLayout", "../slideLayouts/slideLayout1.xml"}, {"theme", "../theme/theme1.xml"},
		}),
		{"ppt/slideLayouts/slideLayout1.xml", layout},
		relsPart("ppt/slideLayouts/_rels/slideLayout1.xml.rels", [][2]string{{"slideMaster", "../slideMasters/slideMaster1.xml"}}),
		{"ppt/theme/theme1.xml", theme()},
	}
	return pack(t.Created, append(parts, slides...))
}

func slide(s Section, lang string) string {
	var b strings.Builder
	b.WriteString(xmlHead + `<p:sld ` + slideSpaces + `><p:cSld><p:spTree>` + groupShape)
	box := func(id, y, height, size int, paragraphs []string) {
		fmt.Fprintf(&b, `<p:sp><p:nvSpPr><p:cNvPr id="%d" name="Text %[1]d"/><p:cNvSpPr txBox="1"/><p:nvPr/></p:nvSpPr><p:spPr><a:xfrm>`+
			`<a:off x="457200" y="%d"/><a:ext cx="8229600" cy="%d"/></a:xfrm><a:prstGeom prst="rect"><a:avLst/></a:prstGeom></p:spPr>`+
			`<p:txBody><a:bodyPr wrap="square"/><a:lstStyle/>`, id, y, height)
		for _, p := range paragraphs {
			fmt.Fprintf(&b, `<a:p><a:r><a:rPr lang="%s" sz="%d"/><a:t>%s</a:t></a:r></a:p>`, lang, size, escape(p))
		}
		b.WriteString(`</p:txBody></p:sp>`)
	}
	box(2, 274638, 1143000, 2800, []string{s.Heading})
	box(3, 1600200, 4525963, 1400, s.Paragraphs)
	b.WriteString(`</p:spTree></p:cSld><p:clrMapOvr><a:masterClrMapping/></p:clrMapOvr></p:sld>`)
	return b.String()
}

// theme is the least that a presentation needs: twelve colours, two fonts, and three of each kind of style.
func theme() string {
	var colours strings.Builder
	for _, c := range [][2]string{
		{"dk1", "000000"}, {"lt1", "FFFFFF"}, {"dk2", "1F3A5F"}, {"lt2", "E8EEF4"}, {"accent1", "2A6496"}, {"accent2", "4F8A8B"},
		{"accent3", "B5651D"}, {"accent4", "7A6C5D"}, {"accent5", "8B3A3A"}, {"accent6", "5B7F3B"}, {"hlink", "0645AD"}, {"folHlink", "5A3696"},
	} {
		fmt.Fprintf(&colours, `<a:%s><a:srgbClr val="%s"/></a:%[1]s>`, c[0], c[1])
	}
	const font = `<a:latin typeface="Liberation Sans"/><a:ea typeface=""/><a:cs typeface=""/>`
	const fill = `<a:solidFill><a:schemeClr val="phClr"/></a:solidFill>`
	return xmlHead + `<a:theme xmlns:a="` + drawing + `" name="Plain"><a:themeElements><a:clrScheme name="Plain">` + colours.String() +
		`</a:clrScheme><a:fontScheme name="Plain"><a:majorFont>` + font + `</a:majorFont><a:minorFont>` + font + `</a:minorFont></a:fontScheme>` +
		`<a:fmtScheme name="Plain"><a:fillStyleLst>` + strings.Repeat(fill, 3) + `</a:fillStyleLst><a:lnStyleLst>` +
		strings.Repeat(`<a:ln w="9525">`+fill+`</a:ln>`, 3) + `</a:lnStyleLst><a:effectStyleLst>` +
		strings.Repeat(`<a:effectStyle><a:effectLst/></a:effectStyle>`, 3) + `</a:effectStyleLst><a:bgFillStyleLst>` +
		strings.Repeat(fill, 3) + `</a:bgFillStyleLst></a:fmtScheme></a:themeElements></a:theme>`
}
